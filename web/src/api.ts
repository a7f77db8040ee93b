/** Talks to the server: sign-in, commands, and what the page shows beside them. */

const KEY = "flyball-admin-token";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Obj = { [key: string]: Json };

export class Failure extends Error {}
/** The session is over: sign in again. */
export class Expired extends Failure {}

let token = sessionStorage.getItem(KEY) ?? "";
let onExpired: () => void = () => undefined;

export function whenExpired(callback: () => void): void {
  onExpired = callback;
}

function keep(value: string): void {
  token = value;
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token) headers.set("Authorization", `token ${token}`);
  let answer: Response;
  try {
    answer = await fetch(`${base()}admin/${path}`, { ...init, headers, cache: "no-store" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Failure("the server cannot be reached");
  }
  if (answer.status === 401) {
    keep("");
    onExpired();
    throw new Expired("the session has ended");
  }
  return answer;
}

/** Folder of the page, whatever prefix it has, with or without a slash at the end. */
function base(): string {
  const path = location.pathname.replace(/\/index\.html$/, "/");
  return path.endsWith("/") ? path : `${path}/`;
}

async function read<T>(answer: Response): Promise<T> {
  if (!answer.ok) throw new Failure(`${answer.status} ${(await answer.text()).trim()}`.trim());
  return (await answer.json()) as T;
}

export type Init = { authenticated: boolean; insecure: boolean };
export const init = async (): Promise<Init> => read<Init>(await ask("init"));

export type SignIn = { ok: true } | { ok: false; wait: string };
export async function signIn(password: string): Promise<SignIn> {
  const answer = await ask("auth", { method: "POST", body: new URLSearchParams({ password }) });
  if (answer.status === 429) return { ok: false, wait: answer.headers.get("Retry-After") ?? "" };
  if (answer.status === 400) return { ok: false, wait: "" };
  keep((await read<{ token: string }>(answer)).token);
  return { ok: true };
}

export async function signOut(): Promise<void> {
  try {
    await ask("logout", { method: "POST" });
  } finally {
    keep("");
  }
}

export const get = async <T>(path: string): Promise<T> => read<T>(await ask(path));

export const post = async <T>(path: string, body: Obj): Promise<T> =>
  read<T>(await ask(path, { method: "POST", body: JSON.stringify(body) }));

export type Reply = { result?: Json; error?: { code: number; message: string } };

/** Carries out one command of the server API, and returns whatever it answers. */
export async function command(method: string, params: Obj): Promise<Reply> {
  const body = JSON.stringify({ method, params });
  return read<Reply>(await ask("api", { method: "POST", body }));
}

/** The result of a command; an error is thrown. */
export async function call<T>(method: string, params: Obj = {}): Promise<T> {
  const reply = await command(method, params);
  if (reply.error) throw new Failure(`${reply.error.code} ${reply.error.message}`);
  return (reply.result ?? {}) as T;
}

export type TailLine = { data?: Json; offset?: number; user?: string; client?: string; lost?: number };

/** Follows a channel until `signal` says stop; it opens again whenever it is cut. */
export async function tail(
  channel: string,
  signal: AbortSignal,
  onLine: (line: TailLine) => void,
  onCut: (cut: boolean) => void,
): Promise<void> {
  let pause = 500;
  while (!signal.aborted) {
    try {
      const answer = await ask("tail", { method: "POST", body: JSON.stringify({ channel }), signal });
      if (!answer.ok || !answer.body) throw new Failure(await answer.text());
      onCut(false);
      pause = 500;
      await lines(answer.body, onLine);
    } catch (error) {
      if (signal.aborted || error instanceof Expired) return;
    }
    if (signal.aborted) return;
    onCut(true);
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 10_000);
  }
}

async function lines(body: ReadableStream<Uint8Array>, onLine: (line: TailLine) => void): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) if (part) onLine(JSON.parse(part) as TailLine);
  }
}

export type Method = { name: string; doc: string; fields: { name: string; kind: string }[] };
export type Settings = {
  version: string;
  node: string;
  uid: string;
  api: string;
  insecure: string[];
  unbuilt: string[];
  problems: string[];
  engine: string;
  methods: Method[];
  namespaces: { name: string; options: Obj }[];
  can_sign: boolean;
};
export type NodeStats = {
  uid: string;
  name: string;
  version: string;
  uptime: number;
  num_clients: number;
  num_users: number;
  num_channels: number;
  num_subs: number;
  sent_total: number;
  received_commands_total: number;
  errors_total: number;
  broadcasts_total: number;
  broadcast_seconds_total: number;
  cpu_seconds_total: number;
  memory: number;
  problems: string[];
};
export type StatsPage = { time: number; nodes: NodeStats[]; missing: string };
