"""Counters become the metric families that dashboards of the original know."""

import subprocess
import sys
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from flyball.core.metrics import Histogram, Metrics
from flyball.server.metrics import (
    MetricItems,
    MetricsOptions,
    NodeCollector,
    ServerMetrics,
    exposition,
    process_registry,
    render,
)
from flyball.server.metrics.quantiles import STEP, WINDOW, Window, quantile
from flyball.server.metrics.table import API, CORE, NODE, SERVER, MetricKind


@dataclass
class Hub:
    num_clients: int = 3
    num_users: int = 2
    num_subscriptions: int = 5
    num_channels: int = 4


class Api:
    def __init__(self) -> None:
        self.durations = {("http", "info"): Histogram()}
        self.errors = {("http", "publish", "102"): 2}


def samples(collector: NodeCollector) -> dict[tuple[str, frozenset], float]:
    text = exposition([collector]).decode()
    shown = {line.partition("{")[0].split()[0] for line in text.splitlines() if line[0] != "#"}
    found = {}
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            # The parser gives every counter the ending that OpenMetrics wants.
            name = s.name if s.name in shown else s.name.removesuffix("_total")
            found[name, frozenset(s.labels.items())] = s.value
    return found


def key(name: str, **labels: str) -> tuple[str, frozenset]:
    return name, frozenset(labels.items())


def test_gauges_and_counters_have_the_names_and_labels_of_the_original():
    metrics = Metrics()
    metrics.connections_accepted["websocket", "unnamed", "unregistered"] += 7
    metrics.reply_errors["subscribe", 103] += 2
    metrics.recovers[True, False] += 1
    metrics.subscriptions_accepted["unregistered"] = 9
    metrics.transport_closes["websocket", 3008] += 1
    server = ServerMetrics()
    server.connection_limit = 4
    server.insecure_options["client.insecure"] = 1
    server.certificates["a.test"] = 1.8e9
    got = samples(
        NodeCollector(
            Hub(),
            metrics,
            api=Api(),
            server=server,
            num_nodes=lambda: 6,
            options=MetricsOptions(version="1.2.3"),
        )
    )
    assert got[key("centrifugo_node_num_clients")] == 3
    assert got[key("centrifugo_node_num_nodes")] == 6
    assert got[key("centrifugo_node_build", version="1.2.3")] == 1
    accepted = key(
        "centrifugo_client_connections_accepted",
        transport="websocket",
        accept_protocol="",
        client_name="unnamed",
        client_version="unregistered",
    )
    assert got[accepted] == 7
    errors = key(
        "centrifugo_client_num_reply_errors", method="subscribe", code="103", channel_namespace=""
    )
    assert got[errors] == 2
    recovered = key(
        "centrifugo_client_recover",
        recovered="yes",
        has_recovered_publications="no",
        channel_namespace="",
    )
    assert got[recovered] == 1
    assert (
        got[
            key(
                "centrifugo_client_subscriptions_accepted",
                client_name="unregistered",
                channel_namespace="",
            )
        ]
        == 9
    )
    assert got[key("centrifugo_node_client_connection_limit")] == 4
    assert got[key("centrifugo_transport_outgoing_close_count", transport="websocket", code="3008")]
    failed = key(
        "centrifugo_api_command_errors_total", protocol="http", method="publish", error="102"
    )
    assert got[failed] == 2
    assert got[key("flyball_insecure_options", option="client.insecure")] == 1
    assert got[key("flyball_certificate_end_timestamp_seconds", host="a.test")] == 1.8e9


def test_histograms_are_cumulated_and_bounds_are_written_as_in_go():
    metrics = Metrics()
    for value in (0.0000005, 0.003, 0.7, 99.0):
        metrics.broadcast_duration["publication"].observe(value)
    text = exposition([NodeCollector(Hub(), metrics)]).decode()
    name = "centrifugo_node_broadcast_duration_seconds"
    line = f'{name}_bucket{{channel_namespace="",le="%s",type="publication"}} %d'
    for bound, count in (("1e-06", 1), ("0.005", 2), ("0.5", 2), ("1", 3), ("10", 3), ("+Inf", 4)):
        assert line % (bound, count) in text.splitlines()
    assert f'{name}_count{{channel_namespace="",type="publication"}} 4' in text
    assert f"# TYPE {name} histogram" in text


def test_a_timing_is_a_summary_and_a_histogram_twin():
    metrics = Metrics()
    for _ in range(100):
        metrics.command_duration["publish"].observe(0.0002)
    name = "centrifugo_client_command_duration_seconds"
    text = exposition([NodeCollector(Hub(), metrics)]).decode()
    assert f"# TYPE {name} summary" in text
    assert f"# TYPE {name}_histogram histogram" in text
    found = samples(NodeCollector(Hub(), metrics))
    labels = {"method": "publish", "channel_namespace": ""}
    assert found[key(f"{name}_count", **labels)] == 100
    assert found[key(f"{name}_sum", **labels)] == pytest.approx(0.02)
    assert 0.0001 < found[key(name, quantile="0.5", **labels)] <= 0.00025
    assert found[key(f"{name}_histogram_count", **labels)] == 100


def test_native_histograms_leave_the_summaries_out():
    metrics = Metrics()
    metrics.command_duration["publish"].observe(0.1)
    options = MetricsOptions(native_histograms=True)
    text = exposition([NodeCollector(Hub(), metrics, options=options)]).decode()
    assert " summary" not in text
    assert "client_command_duration_seconds_histogram_bucket" in text


def test_recovered_publications_only_when_asked_for():
    metrics = Metrics()
    metrics.recovered_publications.observe(3)
    assert b"client_recovered_publications" not in exposition([NodeCollector(Hub(), metrics)])
    options = MetricsOptions(recovered_publications_histogram=True)
    shown = exposition([NodeCollector(Hub(), metrics, options=options)])
    assert b'client_recovered_publications_bucket{channel_namespace="",le="3"} 1' in shown


def test_type_headings_match_the_sample_names():
    metrics = Metrics()
    metrics.server_disconnects[3005] += 1
    text = exposition([NodeCollector(Hub(), metrics, api=Api()), process_registry()]).decode()
    assert "# TYPE centrifugo_client_num_server_disconnects counter\n" in text
    assert "# TYPE centrifugo_api_command_errors_total counter\n" in text
    assert "# TYPE process_cpu_seconds_total counter\n" in text
    assert "python_gc_collections_total" in text
    assert "_created" not in text
    headings = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(headings) == len(set(headings))


def test_label_values_are_escaped():
    metrics = Metrics()
    metrics.actions['a"b\\c\nd'] += 1
    text = exposition([NodeCollector(Hub(), metrics)]).decode()
    assert r'action="a\"b\\c\nd"' in text


def test_families_without_samples_are_left_out():
    assert "node_action_count" not in render(NodeCollector(Hub(), Metrics()).collect())
    assert render([]) == ""


def test_works_in_a_registry_of_the_user():
    registry = CollectorRegistry()
    registry.register(NodeCollector(Hub(), Metrics()))
    assert registry.get_sample_value("centrifugo_node_num_users") == 2


def test_every_row_of_the_tables_names_a_counter_that_exists():
    sources = {NODE: Hub(), CORE: Metrics(), API: Api(), SERVER: ServerMetrics()}
    names = [spec.full_name for table in sources for spec in table]
    assert len(names) == len(set(names))
    for table, source in sources.items():
        for spec in table:
            assert hasattr(source, spec.source), spec.name
    exported = {spec.source for spec in CORE}
    traffic = {name for name in exported if name.startswith("transport_") and "close" not in name}
    assert len(traffic) == 4
    assert exported - traffic == set(Metrics.__slots__) - {"sent", "received"}
    assert {s.kind for s in (*CORE, *NODE)} == set(MetricKind)


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ([10, 0, 0], 0.5, 0.5),
        ([0, 10, 0], 0.5, 1.5),
        ([0, 0, 10], 0.5, 2.0),
        ([5, 5, 0], 0.99, 1.98),
        ([0, 0, 0], 0.5, nan),
    ],
)
def test_quantile_is_interpolated(counts, q, expected):
    got = quantile((1.0, 2.0), counts, q)
    assert isnan(got) if isnan(expected) else got == pytest.approx(expected)


def test_quantiles_look_back_one_window_only():
    window = Window()
    assert window.recent(0.0, [100, 0]) == [100, 0]
    for now in range(int(STEP), int(WINDOW), int(STEP)):
        assert window.recent(float(now), [100, 0]) == [100, 0]
    assert window.recent(WINDOW, [100, 7]) == [0, 7]
    assert window.recent(2 * WINDOW, [100, 7]) == [0, 0]


def test_flat_items_have_the_names_of_the_info_call():
    metrics, api = Metrics(), Api()
    api.durations["http", "info"].observe(0.001)
    metrics.actions["add_client"] += 5
    items = MetricItems(NodeCollector(Hub(), metrics, api=api))
    first = items.tick()
    assert first["centrifugo.api.command_duration_seconds.count.method.info.protocol.http"] == 1
    for q in ("50", "99", "999"):
        name = f"centrifugo.api.command_duration_seconds.quantile.{q}.method.info.protocol.http"
        assert 0 < first[name] <= 0.005
    assert first["centrifugo.node.num_clients"] == 3
    assert first["centrifugo.node.action_count.action.add_client"] == 5
    assert not any("histogram" in name or "bucket" in name for name in first)

    metrics.actions["add_client"] += 2
    second = items.tick()
    assert second is items.items
    assert second["centrifugo.node.action_count.action.add_client"] == 2
    assert second["centrifugo.api.command_duration_seconds.count.method.info.protocol.http"] == 0
    assert second["centrifugo.node.num_clients"] == 3


def test_the_documentation_page_lists_what_the_tables_have():
    script = Path(__file__).parents[3] / "scripts" / "metrics_doc.py"
    command = [sys.executable, script, "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}; run python scripts/metrics_doc.py"
