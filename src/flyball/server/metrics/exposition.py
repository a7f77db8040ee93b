"""Prometheus' text format.

``prometheus_client`` writes it too, but appends ``_total`` to the name in the headings of every
counter, and half of Centrifugo's counters have no such ending: their type would be lost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_TYPES: Final = {"unknown": "untyped", "info": "gauge", "stateset": "gauge"}
"""OpenMetrics types that the text format names otherwise."""


def render(families: Iterable[Metric]) -> str:
    """The families as text; ones without samples are left out."""
    lines: list[str] = []
    for family in families:
        samples = [s for s in family.samples if not s.name.endswith("_created")]
        if not samples:
            continue
        name = samples[0].name if family.type in ("counter", "info") else family.name
        text = family.documentation.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"# HELP {name} {text}")
        lines.append(f"# TYPE {name} {_TYPES.get(family.type, family.type)}")
        lines.extend(f"{s.name}{_labels(s.labels)} {number_text(s.value)}" for s in samples)
    return "\n".join(lines) + "\n" if lines else ""


def exposition(collectors: Iterable[Collector]) -> bytes:
    """What ``/metrics`` answers."""
    return render(family for one in collectors for family in one.collect()).encode()


def process_registry() -> CollectorRegistry:
    """CPU, memory and open files of this process, Python's version and its garbage collector."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(labels.items()))
    return "{" + pairs + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def number_text(value: float) -> str:
    """A number as the format wants it, without a needless ``.0``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")
