import { Alert, Button, Checkbox, Code, Group, NativeSelect, SimpleGrid, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useState, type FormEvent } from "react";
import { command, type Json, type Method, type Obj, type Reply, type Settings } from "../api";
import { address } from "../hooks";
import { Copy, Empty, JsonBlock, Panel, Problem } from "../parts";
import { text } from "../text";

const words = text.actions;
type Values = Record<string, string | boolean>;

/** The parameters of a form; fields left empty are left out. */
function parameters(method: Method, values: Values): { params: Obj; wrong: Record<string, string> } {
  const params: Obj = {};
  const wrong: Record<string, string> = {};
  for (const { name, kind } of method.fields) {
    const value = values[name];
    if (value === undefined || value === "" || value === false) continue;
    if (value === true) params[name] = true;
    else if (kind === "text") params[name] = value;
    else if (kind === "list") params[name] = value.split("\n").filter((line) => line !== "");
    else if (kind === "number") {
      if (!/^-?\d+$/.test(value.trim())) wrong[name] = words.number;
      else if (!Number.isSafeInteger(Number(value))) wrong[name] = words.tooLarge;
      else params[name] = Number(value);
    } else {
      try {
        params[name] = JSON.parse(value) as Json;
      } catch {
        wrong[name] = words.badJson;
      }
    }
  }
  return { params, wrong };
}

function curl(settings: Settings, method: string, params: Obj): string {
  const body = JSON.stringify(params).replaceAll("'", "'\\''");
  const url = `${location.origin}${settings.api.replace(/\/$/, "")}/${method}`;
  return `curl -X POST '${url}' \\\n  -H 'X-API-Key: API_KEY' \\\n  -d '${body}'`;
}

export default function Actions({ settings, query }: { settings: Settings; query: URLSearchParams }) {
  const name = query.get("method") ?? "publish";
  const method = settings.methods.find((each) => each.name === name) ?? settings.methods[0];
  if (!method) return <Empty />;
  return (
    <Stack>
      <NativeSelect
        label={words.method}
        data={settings.methods.map((each) => each.name)}
        value={method.name}
        onChange={(event) => location.assign(address("actions", { method: event.currentTarget.value }))}
        maw={320}
      />
      <Form key={method.name} settings={settings} method={method} query={query} />
    </Stack>
  );
}

function Form({ settings, method, query }: { settings: Settings; method: Method; query: URLSearchParams }) {
  const [values, setValues] = useState<Values>(() => ({ channel: query.get("channel") ?? "", user: query.get("user") ?? "" }));
  const [reply, setReply] = useState<Reply>();
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const { params, wrong } = parameters(method, values);
  const set = (name: string, value: string | boolean) => setValues((all) => ({ ...all, [name]: value }));
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (Object.keys(wrong).length) return;
    setBusy(true);
    try {
      setReply(await command(method.name, params));
      setError("");
    } catch (problem) {
      setError(problem instanceof Error ? problem.message : String(problem));
    } finally {
      setBusy(false);
    }
  };
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md" className="top">
      <Panel title={method.name}>
        <form onSubmit={(event) => void submit(event)}>
          <Stack gap="sm">
            <Text size="sm" c="dimmed">
              {method.doc}
            </Text>
            {!method.fields.length && <Empty>{words.noFields}</Empty>}
            {method.fields.map((field) => (
              <Field
                key={field.name}
                name={field.name}
                kind={field.kind}
                value={values[field.name] ?? ""}
                error={wrong[field.name] ?? ""}
                onChange={(value) => set(field.name, value)}
              />
            ))}
            <Group>
              <Button type="submit" loading={busy}>
                {words.send}
              </Button>
            </Group>
          </Stack>
        </form>
      </Panel>
      <Stack>
        <Panel title={words.answer}>
          <div aria-live="polite">
            <Problem error={error} />
            {reply?.error && (
              <Alert color="red" mb="sm">
                {reply.error.code} {reply.error.message}
              </Alert>
            )}
            {reply ? <JsonBlock value={reply as Json} /> : !error && <Empty>{words.noAnswer}</Empty>}
          </div>
        </Panel>
        {settings.api && (
          <Panel title={words.curl} right={<Copy value={curl(settings, method.name, params)} />}>
            <Code block>{curl(settings, method.name, params)}</Code>
            <Text size="xs" c="dimmed" mt="xs">
              {words.curlKey}
            </Text>
          </Panel>
        )}
      </Stack>
    </SimpleGrid>
  );
}

type FieldProps = { name: string; kind: string; value: string | boolean; error: string; onChange: (value: string | boolean) => void };

function Field({ name, kind, value, error, onChange }: FieldProps) {
  if (kind === "flag")
    return <Checkbox label={name} checked={value === true} onChange={(event) => onChange(event.currentTarget.checked)} />;
  const common = { label: name, value: String(value), error: error || null };
  if (kind === "json" || kind === "list")
    return (
      <Textarea
        {...common}
        description={kind === "json" ? words.json : words.list}
        onChange={(event) => onChange(event.currentTarget.value)}
        rows={name === "data" ? 5 : 2}
        classNames={{ input: "mono" }}
        spellCheck={false}
        resize="vertical"
      />
    );
  return (
    <TextInput
      {...common}
      inputMode={kind === "number" ? "numeric" : "text"}
      onChange={(event) => onChange(event.currentTarget.value)}
      spellCheck={false}
      autoComplete="off"
    />
  );
}
