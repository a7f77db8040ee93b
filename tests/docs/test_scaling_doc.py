"""docs/scaling.md: its tables are those of the script, its options exist."""

import re
import sys

import pytest
from processes import ROOT

from flyball.server.config.table import rows

TEXT = (ROOT / "docs" / "scaling.md").read_text()


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    pytest.importorskip("redis")
    import scale

    yield scale
    for name in ("scale", "run", "measuring", "redis_rows"):
        sys.modules.pop(name, None)


def figures_of(scale, text):
    """What the tables of the page say."""

    def table(first):
        (found,) = re.findall(
            rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE
        )
        for line in found.splitlines():
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield name, [float(re.sub(r"[^\d.]", "", cell)) for cell in cells]

    found = scale.Figures()
    found.server = {name: cells[0] for name, cells in table("by the server, over Redis")}
    found.bytes = {name: cells[0] for name, cells in table("kept")}
    found.costs = {name: scale.Cost(*cells) for name, cells in table("operation of the engine")}
    found.talk = [scale.Talk(int(name), *cells) for name, cells in table("nodes")]
    return found


def test_what_is_needed_follows_from_what_was_measured(scale):
    found = figures_of(scale, TEXT)
    assert [talk.nodes for talk in found.talk] == list(scale.CLUSTERS)
    # Nodes talk as the page says: each tells all, every three seconds.
    for talk in found.talk[2:]:
        assert talk.messages == pytest.approx(talk.nodes**2 / scale.INFO_INTERVAL, rel=0.1)
    rounded = [
        (need.what, *map(number, (need.personal, need.rooms))) for need in scale.needs(found)
    ]
    told = TEXT[TEXT.index("<!-- scale:needed -->") : TEXT.index("<!-- scale:needed:end -->")]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in told.splitlines()[3:]
    ]
    assert [line[0] for line in lines] == [need[0] for need in rounded]
    for (what, *computed), (_, *shown) in zip(rounded, lines, strict=True):
        # The page shows rounded figures, from which this was computed once more.
        assert computed == pytest.approx([number(cell) for cell in shown], rel=0.15, abs=0.1), what


def number(cell):
    return float(re.sub(r"[^\d.]", "", cell))


def test_options_exist():
    known = {row.path for row in rows()}
    for name in re.findall(r"`((?:engine|broker)\.[a-z_.]+)`", TEXT):
        assert name in known, name
