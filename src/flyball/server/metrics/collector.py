"""Turns plain counters into Prometheus metric families, at the moment of a scrape."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from flyball.core.metrics import Histogram
from flyball.server.logs import lost_records
from flyball.server.metrics.exposition import number_text
from flyball.server.metrics.quantiles import Window, quantile
from flyball.server.metrics.table import (
    API,
    CORE,
    NODE,
    POSTGRES,
    PREFIX,
    PROXIES,
    SERVER,
    MetricKind,
    Spec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from flyball.core.metrics import Metrics

QUANTILES = (0.5, 0.99, 0.999)
"""What summaries show."""


class GaugeSource(Protocol):
    """Sizes of a node; the hub has them."""

    @property
    def num_clients(self) -> int:
        """Connections."""
        ...

    @property
    def num_users(self) -> int:
        """Different users."""
        ...

    @property
    def num_subscriptions(self) -> int:
        """Subscriptions."""
        ...

    @property
    def num_channels(self) -> int:
        """Channels with subscribers."""
        ...


class ServerMetrics:
    """Counters of the server's own HTTP side."""

    __slots__ = (
        "certificates",
        "connection_limit",
        "http_requests",
        "insecure_options",
        "no_files",
    )

    def __init__(self) -> None:
        self.connection_limit: int = 0
        """Connections refused by a connection limit."""
        self.no_files: int = 0
        """Connections refused for want of file descriptors."""
        self.http_requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        """path, method, status"""
        self.insecure_options: dict[str, int] = {}
        """Config key of an insecure switch that is on; the value is 1."""

        self.certificates: dict[str, float] = {}
        """Name to the end of the certificate that is served for it, in Unix seconds."""

    @property
    def log_records_lost(self) -> int:
        """Log records that could not be written."""
        return lost_records()

    def count_refused(self) -> None:
        """Counts a connection that a limit refused."""
        self.connection_limit += 1

    def count_no_files(self) -> None:
        """Counts a connection for which there was no file descriptor."""
        self.no_files += 1


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """What is shown."""

    version: str = ""
    """Of the server, in ``node_build``."""
    native_histograms: bool = False
    """Leaves the summaries out, as the original does when its histograms are native."""
    recovered_publications_histogram: bool = False
    """Shows ``client_recovered_publications``."""


class NodeCollector(Collector):
    """Metrics of one node. A ``prometheus_client`` collector; register it in any registry.

    ``api`` counts calls of the server API, ``server`` the HTTP side, ``proxies`` what backends
    are asked, ``postgres`` a broker of that kind, ``num_nodes`` tells how many nodes are known.
    ``others`` are further objects that count, with their metrics.
    """

    def __init__(
        self,
        hub: GaugeSource,
        metrics: Metrics,
        *,
        api: object | None = None,
        server: ServerMetrics | None = None,
        proxies: object | None = None,
        postgres: object | None = None,
        num_nodes: Callable[[], int] = lambda: 1,
        others: Sequence[tuple[object, tuple[Spec, ...]]] = (),
        options: MetricsOptions = MetricsOptions(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources: list[tuple[object, tuple[Spec, ...]]] = [(hub, NODE), (metrics, CORE)]
        if api is not None:
            self._sources.append((api, API))
        if server is not None:
            self._sources.append((server, SERVER))
        if proxies is not None:
            self._sources.append((proxies, PROXIES))
        if postgres is not None:
            self._sources.append((postgres, POSTGRES))
        self._sources += others
        self._num_nodes = num_nodes
        self._options = options
        self._monotonic = monotonic
        self._windows: dict[tuple[str, tuple[str, ...]], Window] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known, and registering must not count as a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families with their current values."""
        options = self._options
        yield _gauge(
            PREFIX + "node_build", "Version of the server.", 1, {"version": options.version}
        )
        yield _gauge(
            PREFIX + "node_num_nodes",
            "Nodes known to this one, itself included.",
            self._num_nodes(),
        )
        for source, specs in self._sources:
            for spec in specs:
                if spec.source == "recovered_publications" and (
                    not options.recovered_publications_histogram
                ):
                    continue
                yield from self._families(spec, getattr(source, spec.source))

    def _families(self, spec: Spec, value: object) -> Iterator[Metric]:
        name, rows = spec.full_name, list(_rows(spec, value))
        if spec.kind is not MetricKind.TIMING:
            family = Metric(name, spec.help, spec.kind.value)
            for _, labels, number in rows:
                if isinstance(number, Histogram):
                    _add_histogram(family, name, labels, number)
                else:
                    family.add_sample(name, labels, number)
            yield family
            return
        if not self._options.native_histograms:
            yield self._summary(spec, rows)
        twin = Metric(f"{name}_histogram", spec.help, "histogram")
        for _, labels, number in rows:
            assert isinstance(number, Histogram), spec.source
            _add_histogram(twin, twin.name, labels, number)
        yield twin

    def _summary(self, spec: Spec, rows: list[_Row]) -> Metric:
        name, now = spec.full_name, self._monotonic()
        family = Metric(name, spec.help, "summary")
        for key, labels, number in rows:
            assert isinstance(number, Histogram), spec.source
            window = self._windows.get((name, key))
            if window is None:
                window = self._windows[name, key] = Window()
            recent = window.recent(now, number.counts)
            for q in QUANTILES:
                value = quantile(number.bounds, recent, q)
                family.add_sample(name, {**labels, "quantile": f"{q:g}"}, value)
            family.add_sample(f"{name}_sum", labels, number.total)
            family.add_sample(f"{name}_count", labels, number.count)
        return family


_Row = tuple[tuple[str, ...], dict[str, str], float | Histogram]


def _rows(spec: Spec, value: object) -> Iterator[_Row]:
    """Label values, labels and number of each child of a counter."""
    fixed = dict(spec.fixed)
    if not spec.labels:
        assert isinstance(value, (int, Histogram)), spec.source
        yield (), fixed, value
        return
    assert isinstance(value, dict), spec.source
    # A copy: a library user may scrape from a thread while the loop counts on.
    for key, number in list(value.items()):
        parts = key if isinstance(key, tuple) else (key,)
        texts = tuple(_text(part) for part in parts)
        yield texts, dict(zip(spec.labels, texts, strict=True)) | fixed, number


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _gauge(name: str, text: str, value: float, labels: dict[str, str] | None = None) -> Metric:
    family = Metric(name, text, "gauge")
    family.add_sample(name, labels or {}, value)
    return family


def _add_histogram(family: Metric, name: str, labels: dict[str, str], data: Histogram) -> None:
    """Adds cumulated buckets, sum and count."""
    seen = 0
    for bound, count in zip(data.bounds, data.counts, strict=False):
        seen += count
        family.add_sample(f"{name}_bucket", {**labels, "le": number_text(bound)}, seen)
    seen += data.counts[-1]
    family.add_sample(f"{name}_bucket", {**labels, "le": "+Inf"}, seen)
    family.add_sample(f"{name}_sum", labels, data.total)
    family.add_sample(f"{name}_count", labels, seen)
