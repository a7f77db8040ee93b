import { Alert, Anchor, Checkbox, Group, NativeSelect, Stack, Table, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { call, type Obj, type Settings } from "../api";
import { address, useAct, useCursor, useLoad, useSettled } from "../hooks";
import { duration, Empty, milliseconds, Name, number, Pages, Panel, Problem, Rows, Sure, Waiting } from "../parts";
import { text } from "../text";

const words = text.connections;
const SOME = 3;
const TRANSPORTS = [{ value: "", label: words.anyTransport }, "websocket", "webtransport", "http_stream", "sse", "sockjs", "uni_websocket", "uni_http_stream", "uni_sse", "uni_grpc"];

type Info = {
  app_name?: string;
  app_version?: string;
  transport?: string;
  user?: string;
  state?: { channels?: Record<string, Obj> };
  connected_at_ms?: number;
  node?: string;
  remote_addr?: string;
  latency?: number;
  num_channels?: number;
};
type Result = { connections: Record<string, Info>; cursor?: string; total?: number };

export default function Connections({ query }: { settings: Settings; query: URLSearchParams }) {
  const [filters, setFilters] = useState({
    user: query.get("user") ?? "",
    channel: query.get("channel") ?? "",
    transport: "",
    app_name: "",
    min_age: "",
  });
  const [anonymous, setAnonymous] = useState(false);
  const settled = useSettled(filters);
  const [cursor, setCursor] = useCursor([settled, anonymous]);
  const params: Obj = { limit: 100, cursor, anonymous, ...settled, min_age: Math.max(0, Math.floor(Number(settled.min_age) || 0)) };
  const { data, error, reload } = useLoad(() => call<Result>("connections", params), JSON.stringify(params), 5);
  const { act, done, failed } = useAct(reload);
  const field = (name: keyof typeof filters, label: string) => (
    <TextInput
      label={label}
      value={filters[name]}
      onChange={(event) => setFilters({ ...filters, [name]: event.currentTarget.value })}
      spellCheck={false}
      flex="1 1 8rem"
      maw={200}
    />
  );
  const rows = Object.entries(data?.connections ?? {});
  return (
    <Stack>
      <Panel>
        <Group align="end" gap="sm" mb="sm">
          {field("user", words.user)}
          {field("channel", words.channel)}
          <NativeSelect
            label={words.transport}
            data={TRANSPORTS}
            value={filters.transport}
            onChange={(event) => setFilters({ ...filters, transport: event.currentTarget.value })}
            flex="1 1 8rem"
            maw={200}
          />
          {field("app_name", words.sdk)}
          {field("min_age", words.minAge)}
          <Checkbox label={words.onlyAnonymous} checked={anonymous} onChange={(event) => setAnonymous(event.currentTarget.checked)} pb="xs" />
        </Group>
        <Problem error={error || failed} />
        <div aria-live="polite">{done && <Alert color="teal">{text.done(done)}</Alert>}</div>
        {!data && !error && <Waiting />}
        {data && !rows.length && <Empty>{words.empty}</Empty>}
        {rows.length > 0 && (
          <Rows
            label={text.pages.connections}
            head={[words.user, words.client, words.transport, words.age, words.latency, words.channels, words.act]}
            numbers={[words.age, words.latency]}
          >
            {rows.map(([client, info]) => (
              <One key={client} client={client} info={info} onAct={act} />
            ))}
          </Rows>
        )}
        {data && (
          <Group justify="space-between" mt="sm">
            <Text size="sm" c="dimmed">
              {words.total(data.total ?? 0)}
            </Text>
            <Pages cursor={cursor} next={data.cursor ?? ""} onPage={setCursor} />
          </Group>
        )}
      </Panel>
    </Stack>
  );
}

type OneProps = { client: string; info: Info; onAct: (what: string, method: string, params: Obj) => void };

function One({ client, info, onAct }: OneProps) {
  const user = info.user ?? "";
  const channels = Object.keys(info.state?.channels ?? {});
  const more = (info.num_channels ?? 0) - SOME;
  const only = { user, client };
  return (
    <Table.Tr className="small">
      <Table.Td>
        {user ? (
          <Anchor size="sm" href={address("connections", { user })}>
            <Name>{user}</Name>
          </Anchor>
        ) : (
          <Name empty={words.anonymous}>{user}</Name>
        )}
      </Table.Td>
      <Table.Td className="once" title={`${client}\n${words.onNode(info.node ?? "")}`}>
        <span className="mono">{client.slice(0, 8)}…</span>
        <Below>{info.remote_addr ?? ""}</Below>
      </Table.Td>
      <Table.Td>
        {info.transport}
        <Below>{[info.app_name, info.app_version].filter(Boolean).join(" ")}</Below>
      </Table.Td>
      <Table.Td className="number">{duration(Date.now() / 1000 - (info.connected_at_ms ?? 0) / 1000)}</Table.Td>
      <Table.Td className="number">{info.latency ? milliseconds(info.latency) : "–"}</Table.Td>
      <Table.Td>
        {channels.slice(0, SOME).map((channel) => (
          <Anchor key={channel} href={address("channels", { channel })} size="sm" display="block">
            <Name>{channel}</Name>
          </Anchor>
        ))}
        {!channels.length && "–"}
        {more > 0 && <Below>{words.moreChannels(number(more))}</Below>}
      </Table.Td>
      <Table.Td>
        <Group gap={4} miw={170} maw={260}>
          <Sure what={words.disconnect} onSure={() => onAct(words.disconnect, "disconnect", only)} />
          <Sure what={words.expire} onSure={() => onAct(words.expire, "refresh", { ...only, expired: true })} />
          {channels.length > 0 && <Sure what={words.unsubscribe} onSure={() => onAct(words.unsubscribe, "unsubscribe", only)} />}
        </Group>
      </Table.Td>
    </Table.Tr>
  );
}

function Below({ children }: { children: string }) {
  if (!children) return null;
  return (
    <Text size="xs" c="dimmed" component="div">
      <Name>{children}</Name>
    </Text>
  );
}
