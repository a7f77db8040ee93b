"""The walk through the rooms names files that are there, and all rooms."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "flyball"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`([a-z0-9_]+(?:/[a-z0-9_]+)*(?:\.py)?)`", PAGE)))
FILES = [name for name in NAMED if "/" in name or name.endswith(".py")]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_named_exists(name):
    assert (ROOT / name if name.startswith("tests/") else PACKAGE / name).exists()


def test_every_room_is_on_the_page():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert len(FILES) > 30
    assert rooms <= set(NAMED)
