import { Alert, Anchor, Group, Stack, Table, TextInput } from "@mantine/core";
import { useState } from "react";
import { call, type Obj, type Settings } from "../api";
import { address, useAct, useCursor, useLoad, useSettled } from "../hooks";
import { Empty, Name, number, Pages, Panel, Problem, Rows, Sure, Waiting } from "../parts";
import { text } from "../text";

const words = text.users;

type Result = { users: Record<string, { num_clients: number }>; cursor?: string };

/** Who is connected: one row for each user, however many connections that user has. */
export default function Users({ query }: { settings: Settings; query: URLSearchParams }) {
  const [pattern, setPattern] = useState(query.get("pattern") ?? "");
  const settled = useSettled(pattern);
  const [cursor, setCursor] = useCursor(settled);
  const params: Obj = { limit: 100, cursor, pattern: settled };
  const { data, error, reload } = useLoad(() => call<Result>("users", params), JSON.stringify(params), 5);
  const { act, done, failed } = useAct(reload);
  const rows = Object.entries(data?.users ?? {});
  return (
    <Stack>
      <Panel>
        <TextInput label={words.filter} placeholder="team-*" value={pattern} onChange={(event) => setPattern(event.currentTarget.value)} spellCheck={false} maw={300} mb="sm" />
        <Problem error={error || failed} />
        <div aria-live="polite">{done && <Alert color="teal">{text.done(done)}</Alert>}</div>
        {!data && !error && <Waiting />}
        {data && !rows.length && <Empty>{words.empty}</Empty>}
        {rows.length > 0 && (
          <Rows label={text.pages.users} head={[words.user, words.connections, words.act]} numbers={[words.connections]}>
            {rows.map(([user, info]) => (
              <Table.Tr key={user}>
                <Table.Td>
                  <Anchor size="sm" href={address("connections", { user })}>
                    <Name>{user}</Name>
                  </Anchor>
                </Table.Td>
                <Table.Td className="number">{number(info.num_clients)}</Table.Td>
                <Table.Td>
                  <Group gap="xs">
                    <Sure what={words.disconnect} onSure={() => act(words.disconnect, "disconnect", { user })} />
                    <Anchor size="sm" href={address("why", { user })}>
                      {text.pages.why}
                    </Anchor>
                  </Group>
                </Table.Td>
              </Table.Tr>
            ))}
          </Rows>
        )}
        {data && (
          <Group justify="flex-end" mt="sm">
            <Pages cursor={cursor} next={data.cursor ?? ""} onPage={setCursor} />
          </Group>
        )}
      </Panel>
    </Stack>
  );
}
