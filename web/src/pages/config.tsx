import { Alert, Checkbox, Group, Stack, Table, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { get, type Json, type Settings, type StatsPage } from "../api";
import { useLoad } from "../hooks";
import { Empty, Panel, Problem, Rows, Waiting } from "../parts";
import { text } from "../text";

const words = text.config;
const SHOWN = 200;
type Option = { path: string; value: Json; source: string; help: string };

export default function Config({ settings }: { settings: Settings }) {
  const { data, error } = useLoad(() => get<Option[]>("config"), "config");
  const links = useLoad(() => get<StatsPage>("stats"), "links", 5);
  const [filter, setFilter] = useState("");
  const [changed, setChanged] = useState(true);
  const wanted = filter.toLowerCase().split(/\s+/);
  const rows = (data ?? []).filter(
    (each) => (!changed || each.source !== "default") && wanted.every((word) => `${each.path} ${each.help}`.toLowerCase().includes(word)),
  );
  const problems = (links.data?.nodes ?? []).flatMap((node) => node.problems.map((problem) => `${node.name}: ${problem}`));
  return (
    <Stack>
      <Panel title={words.links}>
        <Text size="sm" mb={problems.length ? "sm" : 0}>
          {words.engine}: {settings.engine}
          {links.data && !problems.length && ` · ✓ ${words.linksFine}`}
        </Text>
        {problems.length > 0 && <Alert color="red">{problems.join("; ")}</Alert>}
      </Panel>
      <Panel title={words.table} right={<Text size="sm" c="dimmed">{words.options(Math.min(rows.length, SHOWN), rows.length)}</Text>}>
        <Group align="end" mb="sm">
          <TextInput label={words.filter} value={filter} onChange={(event) => setFilter(event.currentTarget.value)} flex={1} maw={360} />
          <Checkbox label={words.changed} checked={changed} onChange={(event) => setChanged(event.currentTarget.checked)} pb="xs" />
        </Group>
        <Problem error={error} />
        {!data && !error && <Waiting />}
        {data && !rows.length && <Empty />}
        {rows.length > 0 && (
          <Rows label={text.pages.config} head={[words.option, words.value, words.source]}>
            {rows.slice(0, SHOWN).map((each) => (
              <Table.Tr key={each.path}>
                <Table.Td>
                  <Text className="mono">{each.path}</Text>
                  <Text size="xs" c="dimmed">
                    {each.help}
                  </Text>
                </Table.Td>
                <Table.Td className="mono">{JSON.stringify(each.value)}</Table.Td>
                <Table.Td>{each.source}</Table.Td>
              </Table.Tr>
            ))}
          </Rows>
        )}
      </Panel>
      <Panel title={words.namespaces}>
        <Rows label={words.namespaces} head={[words.namespace, words.set]}>
          {settings.namespaces.map((each) => (
            <Table.Tr key={each.name}>
              <Table.Td fw={600}>{each.name || words.noNamespace}</Table.Td>
              <Table.Td className="mono">
                {Object.entries(each.options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(" · ") || words.defaults}
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      </Panel>
    </Stack>
  );
}
