import { Alert, Anchor, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { get, type NodeStats, type Settings, type StatsPage } from "../api";
import { Chart, short } from "../chart";
import { address, useLoad } from "../hooks";
import { bytes, duration, Name, number, Panel, Problem, Rows, Waiting } from "../parts";
import { text } from "../text";

const words = text.status;
const KEPT = 300;

type Point = { time: number; cpu: number; clients: number; out: number; in: number; fanout: number; errors: number };
type Before = { time: number; nodes: Map<string, NodeStats> };

/** What happened between two answers; nodes that came or began anew count from now on. */
function point(page: StatsPage, before: Before): Point {
  const span = page.time - before.time;
  const grown = (field: "sent_total" | "received_commands_total" | "errors_total" | "broadcasts_total" | "broadcast_seconds_total" | "cpu_seconds_total") =>
    page.nodes.reduce((sum, node) => {
      const old = before.nodes.get(node.uid);
      return sum + (old ? Math.max(0, node[field] - old[field]) : 0);
    }, 0);
  const broadcasts = grown("broadcasts_total");
  return {
    time: page.time,
    clients: page.nodes.reduce((sum, node) => sum + node.num_clients, 0),
    out: grown("sent_total") / span,
    in: grown("received_commands_total") / span,
    fanout: broadcasts ? (grown("broadcast_seconds_total") / broadcasts) * 1e6 : 0,
    errors: grown("errors_total") / span,
    cpu: (grown("cpu_seconds_total") / span) * 100,
  };
}

export default function Status({ settings }: { settings: Settings }) {
  const { data, error } = useLoad(() => get<StatsPage>("stats"), "stats", 2);
  const before = useRef<Before>(null);
  const [points, setPoints] = useState<Point[]>([]);
  const [cpu, setCpu] = useState(new Map<string, number>());
  useEffect(() => {
    if (!data) return;
    const old = before.current;
    if (old && data.time <= old.time) return;
    before.current = { time: data.time, nodes: new Map(data.nodes.map((node) => [node.uid, node])) };
    if (!old) return;
    setPoints((all) => [...all.slice(1 - KEPT), point(data, old)]);
    const span = data.time - old.time;
    setCpu(
      new Map(
        data.nodes.flatMap((node) => {
          const was = old.nodes.get(node.uid);
          return was ? [[node.uid, (node.cpu_seconds_total - was.cpu_seconds_total) / span] as const] : [];
        }),
      ),
    );
  }, [data]);
  if (!data) return error ? <Problem error={text.offline} /> : <Waiting />;
  const times = points.map((each) => each.time);
  const problems = data.nodes.flatMap((node) => node.problems.map((problem) => `${node.name}: ${problem}`));
  return (
    <Stack>
      {error && <Problem error={text.offline} />}
      {data.missing && <Alert color="red">{words.missing(data.missing)}</Alert>}
      <Told title={words.problems} items={problems} color="red" />
      <Told title={words.insecure} items={settings.insecure} color="red" />
      <Told title={words.unbuilt} items={settings.unbuilt} color="yellow" />
      <SimpleGrid cols={{ base: 2, sm: 5 }} spacing="sm">
        <Figure label={words.nodes} value={data.nodes.length} />
        <Figure label={words.clients} value={sum(data, "num_clients")} page="connections" />
        <Figure label={words.users} value={sum(data, "num_users")} page="users" />
        <Figure label={words.channels} value={sum(data, "num_channels")} page="channels" />
        <Figure label={words.subscriptions} value={sum(data, "num_subs")} />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, md: 2, xl: 3 }} spacing="md">
        <Panel title={words.connections} right={<Now value={points.at(-1)?.clients} />}>
          <Chart times={times} values={points.map((each) => each.clients)} label={words.connections} />
        </Panel>
        <Panel title={words.messagesOut} right={<Now value={points.at(-1)?.out} />}>
          <Chart times={times} values={points.map((each) => each.out)} label={words.messagesOut} />
        </Panel>
        <Panel title={words.messagesIn} right={<Now value={points.at(-1)?.in} />}>
          <Chart times={times} values={points.map((each) => each.in)} label={words.messagesIn} />
        </Panel>
        <Panel title={words.fanout} right={<Now value={points.at(-1)?.fanout} />}>
          <Chart times={times} values={points.map((each) => each.fanout)} label={words.fanout} />
        </Panel>
        <Panel title={words.errors} right={<Now value={points.at(-1)?.errors} />}>
          <Chart times={times} values={points.map((each) => each.errors)} label={words.errors} />
        </Panel>
        <Panel title={words.cpuAll} right={<Now value={points.at(-1)?.cpu} />}>
          <Chart times={times} values={points.map((each) => each.cpu)} label={words.cpuAll} />
        </Panel>
      </SimpleGrid>
      <Panel title={words.nodes}>
        <Rows
          label={words.nodes}
          head={[words.name, words.version, words.uptime, words.clients, words.users, words.channels, words.subscriptions, words.cpu, words.memory, words.health]}
          numbers={[words.uptime, words.clients, words.users, words.channels, words.subscriptions, words.cpu, words.memory]}
        >
          {data.nodes.map((node) => (
            <Table.Tr key={node.uid}>
              <Table.Td>
                <Name>{node.name || node.uid}</Name>
              </Table.Td>
              <Table.Td>{node.version}</Table.Td>
              <Table.Td className="number">{duration(node.uptime)}</Table.Td>
              <Table.Td className="number">{number(node.num_clients)}</Table.Td>
              <Table.Td className="number">{number(node.num_users)}</Table.Td>
              <Table.Td className="number">{number(node.num_channels)}</Table.Td>
              <Table.Td className="number">{number(node.num_subs)}</Table.Td>
              <Table.Td className="number">{cpu.has(node.uid) ? `${((cpu.get(node.uid) ?? 0) * 100).toFixed(1)} %` : "–"}</Table.Td>
              <Table.Td className="number">{node.memory ? bytes(node.memory) : "–"}</Table.Td>
              <Table.Td>{node.problems.length ? <Text c="red" size="sm">✕ {node.problems.join("; ")}</Text> : <>✓ {words.fine}</>}</Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      </Panel>
    </Stack>
  );
}

function sum(page: StatsPage, field: "num_clients" | "num_users" | "num_channels" | "num_subs"): number {
  return page.nodes.reduce((total, node) => total + node[field], 0);
}

function Now({ value }: { value: number | undefined }) {
  return (
    <Text fw={700} className="number">
      {value === undefined ? "–" : short(value)}
    </Text>
  );
}

/** A number; one that a page tells more of leads there. */
function Figure({ label, value, page }: { label: string; value: number; page?: string }) {
  return (
    <Panel>
      {page ? (
        <Anchor size="sm" href={address(page)}>
          {label}
        </Anchor>
      ) : (
        <Text size="sm" c="dimmed">
          {label}
        </Text>
      )}
      <Text size="xl" fw={700} className="number" data-figure={label}>
        {number(value)}
      </Text>
    </Panel>
  );
}

function Told({ title, items, color }: { title: string; items: string[]; color: string }) {
  if (!items.length) return null;
  return (
    <Alert color={color} title={title} variant="light">
      <ul className="mono" style={{ margin: 0, paddingLeft: "1.2rem" }}>
        {items.map((item) => (
          <li key={item}>{item}</li>
        ))}
      </ul>
    </Alert>
  );
}
