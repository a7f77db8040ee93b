import { Alert, Badge, Button, Card, Code, CopyButton, Group, Loader, Table, Text, Title } from "@mantine/core";
import { useState, type ReactNode } from "react";
import type { Json } from "./api";
import { text } from "./text";

export function Panel({ title, right, children }: { title?: string; right?: ReactNode; children: ReactNode }) {
  return (
    <Card withBorder padding="md" radius="md">
      {title !== undefined && (
        <Group justify="space-between" mb="sm" gap="sm">
          <Title order={2} size="h4">
            {title}
          </Title>
          {right}
        </Group>
      )}
      {children}
    </Card>
  );
}

export function Problem({ error }: { error: string }) {
  if (!error) return null;
  return (
    <Alert color="red" variant="light" role="alert">
      {text.failed(error)}
    </Alert>
  );
}

export function Waiting() {
  return (
    <Group gap="xs">
      <Loader size="xs" />
      <Text c="dimmed" size="sm">
        {text.loading}
      </Text>
    </Group>
  );
}

export function Empty({ children }: { children?: ReactNode }) {
  return (
    <Text c="dimmed" size="sm" py="sm">
      {children ?? text.nothing}
    </Text>
  );
}

/** A table; heads in `numbers` stand above numbers, to the right. */
export function Rows({ head, children, label, numbers = [] }: { head: string[]; children: ReactNode; label: string; numbers?: string[] }) {
  return (
    <div className="wide">
      <Table highlightOnHover verticalSpacing="xs" aria-label={label}>
        <Table.Thead>
          <Table.Tr>
            {head.map((name) => (
              <Table.Th key={name} {...(numbers.includes(name) ? { className: "number" } : {})}>
                {name}
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>{children}</Table.Tbody>
      </Table>
    </div>
  );
}

/** Goes through a list that the server gives in pages, by their cursors. */
export function Pages({ cursor, next, onPage }: { cursor: string; next: string; onPage: (cursor: string) => void }) {
  return (
    <Group gap="xs">
      {cursor && (
        <Button size="compact-sm" variant="default" onClick={() => onPage("")}>
          {text.back}
        </Button>
      )}
      {next && (
        <Button size="compact-sm" variant="default" onClick={() => onPage(next)}>
          {text.more}
        </Button>
      )}
    </Group>
  );
}

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Text of strangers with what nobody would see, or what turns its order round, spelled out. */
export const visible = (name: string): string =>
  name.replace(UNSEEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** A name of which people may send any: cut where it is long, whole as a tooltip. */
export function Name({ children, empty }: { children: string; empty?: string }) {
  if (!children)
    return (
      <Text c="dimmed" size="sm" component="span">
        {empty ?? "–"}
      </Text>
    );
  return (
    <div className="cut" title={visible(children)}>
      {visible(children)}
    </div>
  );
}

const LONGEST = 2000;

/** A payload on one line, cut where it is very long. */
export function shortened(value: Json | undefined): string {
  const whole = visible(JSON.stringify(value) ?? "");
  return whole.length > LONGEST ? whole.slice(0, LONGEST) + text.cut(whole.length - LONGEST) : whole;
}

export function JsonBlock({ value }: { value: Json }) {
  return <Code block>{JSON.stringify(value, null, 2).split("\n").map(visible).join("\n")}</Code>;
}

export function Copy({ value }: { value: string }) {
  return (
    <CopyButton value={value}>
      {({ copied, copy }) => (
        <Button size="compact-xs" variant="default" onClick={copy}>
          {copied ? text.tools.copied : text.tools.copy}
        </Button>
      )}
    </CopyButton>
  );
}

export function Verdict({ kind, children }: { kind: string; children: ReactNode }) {
  const color = kind === "allow" ? "teal" : kind === "refuse" ? "red" : "yellow";
  const sign = kind === "allow" ? "✓" : kind === "refuse" ? "✕" : "?";
  return (
    <Badge color={color} size="lg" variant="light" tt="none">
      {sign} {children}
    </Badge>
  );
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
}

export function milliseconds(seconds: number): string {
  const found = seconds * 1000;
  return `${found < 10 ? found.toFixed(1) : found.toFixed(0)} ms`;
}

export function bytes(count: number): string {
  if (count >= 1 << 30) return `${(count / (1 << 30)).toFixed(1)} GB`;
  return `${(count / (1 << 20)).toFixed(0)} MB`;
}

export const number = (value: number): string => value.toLocaleString("en");

/** A button that asks once more. */
export function Sure({ what, onSure }: { what: string; onSure: () => void }) {
  const [asked, setAsked] = useState(false);
  return (
    <Button
      size="compact-xs"
      variant={asked ? "filled" : "default"}
      {...(asked ? { color: "red" } : {})}
      onBlur={() => setAsked(false)}
      onClick={() => {
        setAsked(!asked);
        if (asked) onSure();
      }}
    >
      {asked ? text.sure(what) : what}
    </Button>
  );
}
