import { Button, Checkbox, Group, NativeSelect, SimpleGrid, Stack, Table, Text, Textarea, TextInput } from "@mantine/core";
import { useState, type FormEvent } from "react";
import { call, type Json, type Settings } from "../api";
import { Panel, Problem, Rows, Verdict } from "../parts";
import { text } from "../text";

const words = text.why;
const OPERATIONS = ["subscribe", "publish", "presence", "history", "map_publish", "map_remove", "rpc"];

type Answer = {
  verdict: string;
  sentence: string;
  steps: { rule: string; outcome: string; decided?: boolean }[];
  user?: string;
  namespace?: string;
  code?: number;
  message?: string;
  proxy?: string;
};

function readClaims(written: string) {
  if (!written.trim()) return {};
  try {
    return { claims: JSON.parse(written) as Json };
  } catch {
    throw new Error(words.badClaims);
  }
}

export default function Why({ query }: { settings: Settings; query: URLSearchParams }) {
  const [asked, setAsked] = useState({
    operation: "subscribe",
    channel: query.get("channel") ?? "",
    user: query.get("user") ?? "",
    connection_token: "",
    subscription_token: "",
  });
  const [claims, setClaims] = useState("");
  const [subscribed, setSubscribed] = useState(false);
  const [answer, setAnswer] = useState<Answer>();
  const [error, setError] = useState("");
  const set = (name: keyof typeof asked, value: string) => setAsked({ ...asked, [name]: value });
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      setAnswer(await call<Answer>("explain", { ...asked, ...readClaims(claims), subscribed }));
      setError("");
    } catch (problem) {
      setAnswer(undefined);
      setError(problem instanceof Error ? problem.message : String(problem));
    }
  };
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md" className="top">
      <Panel>
        <form onSubmit={(event) => void submit(event)}>
          <Stack gap="sm">
            <Text size="sm" c="dimmed">
              {words.intro}
            </Text>
            <NativeSelect label={words.operation} data={OPERATIONS} value={asked.operation} onChange={(event) => set("operation", event.currentTarget.value)} />
            <TextInput
              label={asked.operation === "rpc" ? words.method : words.channel}
              value={asked.channel}
              onChange={(event) => set("channel", event.currentTarget.value)}
              spellCheck={false}
              required
              withAsterisk={false}
            />
            <TextInput label={words.user} value={asked.user} onChange={(event) => set("user", event.currentTarget.value)} spellCheck={false} />
            <Checkbox label={words.subscribed} checked={subscribed} onChange={(event) => setSubscribed(event.currentTarget.checked)} />
            <Textarea label={words.connectionToken} value={asked.connection_token} onChange={(event) => set("connection_token", event.currentTarget.value.trim())} rows={2} spellCheck={false} />
            <Textarea label={words.claims} placeholder='{"sub": "ann"}' value={claims} onChange={(event) => setClaims(event.currentTarget.value)} rows={2} spellCheck={false} />
            {asked.operation === "subscribe" && (
              <Textarea label={words.subscriptionToken} value={asked.subscription_token} onChange={(event) => set("subscription_token", event.currentTarget.value.trim())} rows={2} spellCheck={false} />
            )}
            <Group>
              <Button type="submit">{words.ask}</Button>
            </Group>
          </Stack>
        </form>
      </Panel>
      <div aria-live="polite">
        <Problem error={error} />
        {answer && (
          <Panel title={answer.sentence.split(" (looked at before")[0] ?? ""}>
            <Stack>
              <div>
                <Verdict kind={answer.verdict}>{words.verdicts[answer.verdict] ?? answer.verdict}</Verdict>
              </div>
              {answer.code !== undefined && (
                <Text size="sm">
                  {words.code}: {answer.code} {answer.message}
                </Text>
              )}
              {answer.namespace && (
                <Text size="sm">
                  {words.namespace}: {answer.namespace}
                </Text>
              )}
              <Rows label={words.rule} head={[words.rule, words.outcome]}>
                {answer.steps.map((step, index) => (
                  <Table.Tr key={index}>
                    <Table.Td className="mono" fw={step.decided ? 700 : 400}>
                      {step.rule}
                    </Table.Td>
                    <Table.Td fw={step.decided ? 700 : 400}>
                      {step.outcome}
                      {step.decided ? ` (${words.decided})` : ""}
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Rows>
            </Stack>
          </Panel>
        )}
      </div>
    </SimpleGrid>
  );
}
