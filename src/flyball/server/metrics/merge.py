"""The metrics of several workers as those of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

GREATEST: Final = ("node_build", "node_num_nodes", "process_start_time", "process_max_fds")
"""Parts of names whose values are not added up."""


def merge(pages: Iterable[bytes]) -> bytes:
    """Adds up pages in Prometheus' text format, sample by sample.

    Quantiles and what is the same everywhere is taken from whoever has the most.
    """
    headers: dict[str, list[str]] = {}
    families: dict[str, dict[str, float]] = {}
    for page in pages:
        family = ""
        for line in page.decode().splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                lines = headers.setdefault(family, [])
                if line not in lines:
                    lines.append(line)
            elif line:
                _add(families.setdefault(family, {}), line)
    out = []
    for family, samples in families.items():
        out += headers.get(family, [])
        out += [f"{key} {value!r}" for key, value in samples.items()]
    return "\n".join([*out, ""]).encode()


def _add(samples: dict[str, float], line: str) -> None:
    key, _, text = line.rpartition(" ")
    value = float(text)
    known = samples.get(key)
    if known is None:
        samples[key] = value
    elif 'quantile="' in key or any(name in key for name in GREATEST):
        samples[key] = max(known, value)
    else:
        samples[key] = known + value
