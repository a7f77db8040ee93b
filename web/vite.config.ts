import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const out = "../src/flyball/server/admin/web_built";

/** What the page is made of; a test of the package compares its hash with that of the sources. */
function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sources(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}

function sourceHash(): string {
  const hash = createHash("sha256");
  const files = [
    ...sources("src"),
    ...["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"],
  ];
  for (const file of files.map((name) => relative(".", name)).sort()) {
    hash.update(file).update("\0").update(readFileSync(file)).update("\0");
  }
  return hash.digest("hex");
}

const stamp: Plugin = {
  name: "source-hash",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "SOURCES.txt", source: `${sourceHash()}\n` });
  },
};

export default defineConfig({
  base: "./",
  plugins: [react(), stamp],
  build: {
    outDir: out,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
