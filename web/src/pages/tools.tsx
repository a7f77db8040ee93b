import { Button, Checkbox, Code, Group, SimpleGrid, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useState, type FormEvent } from "react";
import { post, type Obj, type Settings } from "../api";
import { Copy, JsonBlock, Panel, Problem, Verdict } from "../parts";
import { text } from "../text";

const words = text.tools;

export default function Tools({ settings }: { settings: Settings }) {
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md" className="top">
      <Make settings={settings} />
      <Check />
    </SimpleGrid>
  );
}

function Make({ settings }: { settings: Settings }) {
  const [user, setUser] = useState("");
  const [channel, setChannel] = useState("");
  const [ttl, setTtl] = useState("3600");
  const [more, setMore] = useState("");
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setToken("");
    try {
      const now = Math.floor(Date.now() / 1000);
      const claims: Obj = {
        ...(user ? { sub: user } : {}),
        ...(Number(ttl) > 0 ? { exp: now + Math.floor(Number(ttl)) } : {}),
        iat: now,
        ...(channel ? { channel } : {}),
        ...(more.trim() ? (JSON.parse(more) as Obj) : {}),
      };
      const found = await post<{ token?: string; error?: string }>("token", { claims });
      setToken(found.token ?? "");
      setError(found.error ?? "");
    } catch (problem) {
      setError(problem instanceof Error ? problem.message : String(problem));
    }
  };
  return (
    <Panel title={words.make}>
      <form onSubmit={(event) => void submit(event)}>
        <Stack gap="sm">
          {!settings.can_sign && (
            <Text size="sm" c="dimmed">
              {words.cannotSign}
            </Text>
          )}
          <TextInput label={words.user} value={user} onChange={(event) => setUser(event.currentTarget.value)} spellCheck={false} />
          <TextInput label={words.channel} value={channel} onChange={(event) => setChannel(event.currentTarget.value)} spellCheck={false} />
          <TextInput label={words.ttl} value={ttl} onChange={(event) => setTtl(event.currentTarget.value)} inputMode="numeric" />
          <Textarea label={words.claims} description="JSON" value={more} onChange={(event) => setMore(event.currentTarget.value)} rows={3} spellCheck={false} />
          <Group>
            <Button type="submit" disabled={!settings.can_sign}>
              {words.makeButton}
            </Button>
          </Group>
          <Problem error={error} />
          {token && (
            <>
              <Group justify="space-between">
                <Text size="sm">{words.token}</Text>
                <Copy value={token} />
              </Group>
              <Code block className="mono" data-token>
                {token}
              </Code>
            </>
          )}
        </Stack>
      </form>
    </Panel>
  );
}

type Checked = { valid?: boolean; reason?: string; user?: string; channel?: string; algorithm?: string; claims?: string; error?: string };

function Check() {
  const [token, setToken] = useState("");
  const [subscription, setSubscription] = useState(false);
  const [found, setFound] = useState<Checked>();
  const [error, setError] = useState("");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      const answer = await post<Checked>("check", { token, subscription });
      setFound(answer);
      setError(answer.error ?? "");
    } catch (problem) {
      setError(problem instanceof Error ? problem.message : String(problem));
    }
  };
  return (
    <Panel title={words.check}>
      <form onSubmit={(event) => void submit(event)}>
        <Stack gap="sm">
          <Textarea label={words.token} value={token} onChange={(event) => setToken(event.currentTarget.value.trim())} rows={5} spellCheck={false} required withAsterisk={false} />
          <Checkbox label={words.subscription} checked={subscription} onChange={(event) => setSubscription(event.currentTarget.checked)} />
          <Group>
            <Button type="submit">{words.checkButton}</Button>
          </Group>
          <Problem error={error} />
          {found && !error && (
            <Stack gap="xs" aria-live="polite">
              <div>
                <Verdict kind={found.valid ? "allow" : "refuse"}>{found.valid ? words.valid : words.invalid}</Verdict>
              </div>
              {found.reason && <Text size="sm">{found.reason}</Text>}
              {found.claims && <JsonBlock value={shown(found.claims)} />}
            </Stack>
          )}
        </Stack>
      </form>
    </Panel>
  );
}

function shown(claims: string) {
  try {
    return JSON.parse(claims) as Obj;
  } catch {
    return claims;
  }
}
