import { Alert, Anchor, Button, Group, NativeSelect, SimpleGrid, Stack, Table, Text, TextInput, Title } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { call, tail, type Json, type Obj, type Settings, type TailLine } from "../api";
import { address, useCursor, useLoad, useSettled } from "../hooks";
import { Empty, Name, number, Pages, Panel, Problem, Rows, shortened, visible, Waiting } from "../parts";
import { text } from "../text";

const words = text.channels;
const SHOWN = 200;
const TAIL = 100;

export default function Channels({ query }: { settings: Settings; query: URLSearchParams }) {
  const channel = query.get("channel");
  return channel ? <One key={channel} channel={channel} /> : <All />;
}

type ChannelsResult = { channels: Record<string, { num_clients?: number }>; cursor?: string; total?: number };

function All() {
  const [pattern, setPattern] = useState("");
  const [order, setOrder] = useState("clients");
  const settled = useSettled(pattern);
  const [cursor, setCursor] = useCursor([settled, order]);
  const asked = { pattern: settled, order, limit: SHOWN, ...(cursor ? { cursor } : {}) };
  const { data, error, reload } = useLoad(() => call<ChannelsResult>("channels", asked), JSON.stringify(asked), 15);
  const rows = Object.entries(data?.channels ?? {}).map(([name, info]) => ({ name, clients: info.num_clients ?? 0 }));
  rows.sort((a, b) => (order === "clients" && b.clients - a.clients) || (a.name < b.name ? -1 : 1));
  return (
    <Panel>
      <Group align="end" mb="sm">
        <TextInput
          label={words.pattern}
          value={pattern}
          onChange={(event) => setPattern(event.currentTarget.value)}
          spellCheck={false}
          flex="1 1 12rem"
          maw={360}
        />
        <NativeSelect
          label={words.order}
          data={[
            { value: "clients", label: words.busiest },
            { value: "name", label: words.byName },
          ]}
          value={order}
          onChange={(event) => setOrder(event.currentTarget.value)}
        />
        <Button variant="default" onClick={reload}>
          {text.refreshNow}
        </Button>
      </Group>
      <Problem error={error} />
      {!data && !error && <Waiting />}
      {data && !rows.length && (
        <>
          <Empty>{words.empty}</Empty>
          <Pages cursor={cursor} next="" onPage={setCursor} />
        </>
      )}
      {rows.length > 0 && (
        <div className="narrow">
          <Rows label={text.pages.channels} head={[words.channel, words.clients]} numbers={[words.clients]}>
            {rows.map(({ name, clients }) => (
              <Table.Tr key={name}>
                <Table.Td>
                  <Anchor size="sm" href={address("channels", { channel: name })}>
                    <Name>{name}</Name>
                  </Anchor>
                </Table.Td>
                <Table.Td className="number">{number(clients)}</Table.Td>
              </Table.Tr>
            ))}
          </Rows>
          <Group justify="space-between" mt="sm">
            <Text size="sm" c="dimmed">
              {words.shown(rows.length, data?.total ?? 0)}
            </Text>
            <Pages cursor={cursor} next={data?.cursor ?? ""} onPage={setCursor} />
          </Group>
        </div>
      )}
    </Panel>
  );
}

type State = {
  nodes: Record<string, { num_clients?: number }>;
  num_clients: number;
  namespace?: string;
  has_presence?: boolean;
  presence_clients?: number;
  presence_users?: number;
  has_history?: boolean;
  offset?: number;
  epoch?: string;
};

function One({ channel }: { channel: string }) {
  const state = useLoad(() => call<State>("channel_state", { channel }), channel, 3);
  return (
    <Stack>
      <Group>
        <Anchor size="sm" href={address("channels")}>← {words.all}</Anchor>
        <Anchor size="sm" href={address("connections", { channel })}>{words.who}</Anchor>
        <Anchor size="sm" href={address("actions", { method: "publish", channel })}>{words.publish}</Anchor>
        <Anchor size="sm" href={address("why", { channel })}>{text.pages.why}</Anchor>
      </Group>
      <Title order={2} size="h4" className="mono title">
        {visible(channel)}
      </Title>
      <Problem error={state.error} />
      {state.data && (
        <Panel title={words.state}>
          <Group gap="xl">
            <Fact label={words.clients} value={number(state.data.num_clients)} />
            <Fact label={words.namespace} value={state.data.namespace || words.none} />
            {Object.keys(state.data.nodes).length > 1 && <Fact label={words.onNodes} value={number(Object.keys(state.data.nodes).length)} />}
            {state.data.has_presence && <Fact label={words.presenceCounts} value={`${state.data.presence_clients ?? 0} / ${state.data.presence_users ?? 0}`} />}
            {state.data.has_history && <Fact label={words.position} value={`${state.data.offset ?? 0} (${state.data.epoch ?? ""})`} />}
          </Group>
        </Panel>
      )}
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md" className="top">
        <Stack>
          <Tail channel={channel} />
          {state.data && <History channel={channel} on={state.data.has_history ?? false} place={`${state.data.offset ?? 0}:${state.data.epoch ?? ""}`} />}
        </Stack>
        {state.data && <Presence channel={channel} on={state.data.has_presence ?? false} count={state.data.presence_clients ?? 0} />}
      </SimpleGrid>
    </Stack>
  );
}

function Fact({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <Text size="sm" c="dimmed">
        {label}
      </Text>
      <Text className="number">{value}</Text>
    </div>
  );
}

type Entry = TailLine & { key: number };

function Tail({ channel }: { channel: string }) {
  const [entries, setEntries] = useState<Entry[]>([]);
  const [cut, setCut] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    let key = 0;
    void tail(channel, stop.signal, (line) => setEntries((all) => [{ ...line, key: key++ }, ...all].slice(0, TAIL)), setCut);
    return () => stop.abort();
  }, [channel]);
  return (
    <Panel title={words.tail}>
      {cut && <Alert color="red">{words.reconnecting}</Alert>}
      {!entries.length && <Empty>{words.noTail}</Empty>}
      <div className="tail" aria-live="polite" data-tail>
        {entries.map((entry) => (
          <div key={entry.key}>
            {entry.lost !== undefined ? (
              <Text c="red" size="sm">
                {words.lost(entry.lost)}
              </Text>
            ) : (
              <>
                <Text size="xs" c="dimmed">
                  {[entry.offset ? `#${entry.offset}` : "", entry.user ?? ""].filter(Boolean).join(" · ")}
                </Text>
                <pre className="payload">{shortened(entry.data)}</pre>
              </>
            )}
          </div>
        ))}
      </div>
    </Panel>
  );
}

type PresenceResult = { presence: Record<string, { user?: string; client?: string; conn_info?: Json }> };

/** Who is there. A crowd is not asked for: the server would have to send all of it. */
function Presence({ channel, on, count }: { channel: string; on: boolean; count: number }) {
  const listed = on && count <= SHOWN;
  const { data, error } = useLoad(async () => (listed ? call<PresenceResult>("presence", { channel }) : undefined), `${channel}${listed}`, listed ? 5 : 0);
  const rows = Object.entries(data?.presence ?? {}).slice(0, SHOWN);
  return (
    <Panel title={words.presence}>
      <Problem error={error} />
      {!on && <Empty>{words.noPresence}</Empty>}
      {on && !listed && (
        <Empty>
          {words.crowd(number(count))} <Anchor size="sm" href={address("connections", { channel })}>{words.who}</Anchor>
        </Empty>
      )}
      {listed && data && !rows.length && <Empty>{words.nobody}</Empty>}
      {rows.length > 0 && (
        <Rows label={words.presence} head={[words.user, words.client]}>
          {rows.map(([client, info]) => (
            <Table.Tr key={client} className="small">
              <Table.Td>
                <Name empty={words.anonymous}>{info.user ?? ""}</Name>
              </Table.Td>
              <Table.Td className="mono once" title={client}>
                {client.slice(0, 8)}…
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
    </Panel>
  );
}

type HistoryResult = { publications: { data?: Json; offset?: number; info?: Obj }[] };

/** The newest publications; asked for again when the channel's position has moved. */
function History({ channel, on, place }: { channel: string; on: boolean; place: string }) {
  const ask = { channel, limit: 50, reverse: true };
  const { data, error, reload } = useLoad(async () => (on ? call<HistoryResult>("history", ask) : undefined), `${channel}${on}`);
  const shown = useRef(place);
  useEffect(() => {
    if (shown.current === place) return;
    shown.current = place;
    reload();
  }, [place, reload]);
  return (
    <Panel title={words.history}>
      <Problem error={error} />
      {!on && <Empty>{words.noHistory}</Empty>}
      {on && data && !data.publications.length && <Empty>{words.nothingKept}</Empty>}
      {data && data.publications.length > 0 && (
        <Rows label={words.publications} head={[words.offset, words.data]} numbers={[words.offset]}>
          {data.publications.map((each) => (
            <Table.Tr key={each.offset} className="high">
              <Table.Td className="number">{each.offset}</Table.Td>
              <Table.Td>
                <div className="mono payload">{shortened(each.data)}</div>
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
    </Panel>
  );
}
