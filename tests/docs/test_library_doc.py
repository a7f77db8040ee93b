"""docs/library.md: its code runs, its tables are true."""

import ast
import contextlib
import re
import subprocess
import sys

import pytest
from processes import ROOT

import flyball
from flyball.protocol import codes

PAGE = ROOT / "docs/library.md"
TEXT = PAGE.read_text()


def blocks(mark):
    return re.findall(rf"<!-- {mark} -->\n```python\n(.*?)```", TEXT, re.DOTALL)


async def test_the_program_runs_from_top_to_bottom(monkeypatch):
    ran = []
    monkeypatch.setattr(flyball, "run", lambda node, **options: ran.append(options))
    space = {"__name__": "library_doc"}
    found = blocks("run")
    assert len(found) >= 6
    for number, source in enumerate(found):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        waiting = eval(compile(source, f"library.md, block {number}", "exec", flags=flags), space)
        if waiting is not None:
            await waiting
    assert ran == [{"port": 8000, "origins": ["https://example.com"]}]
    assert space["history"].publications[0].json() == {"text": "hello"}
    assert set(space["document"]["components"]["schemas"]) == {"Comment"}
    assert not space["node"].running


def test_every_block_is_run():
    marked = len(re.findall(r"<!-- (?:run|test: \S+) -->\n```python\n", TEXT))
    assert marked == TEXT.count("```python\n")


def test_the_tests_pass(tmp_path):
    for name, source in re.findall(r"<!-- test: (\S+) -->\n```python\n(.*?)```", TEXT, re.DOTALL):
        (tmp_path / name).write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "5 passed" in done.stdout, done.stdout


def rows(first):
    """Rows of the table whose header begins with ``first``."""
    (table,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_every_handler_is_there():
    handlers = flyball.Node()._handlers
    kinds = [kind for kind in dir(handlers) if kind.startswith("on_")]
    told = {row[0].strip("`"): row for row in rows("handler")}
    assert sorted(told) == kinds
    for kind, (_, event, answer, _, pattern) in told.items():
        doc = getattr(flyball.Node, kind).__doc__
        assert hasattr(flyball, event.strip("`"))
        assert bool(pattern) == hasattr(getattr(handlers, kind), "patterns"), kind
        assert bool(answer) == ("Answer:" in doc), kind
        for name in re.findall(r"`([A-Z]\w+)`", answer):
            assert name in doc, (kind, name)


def test_codes_exist():
    for code, _ in rows("code"):
        assert int(code) in {**codes.ERRORS, **codes.DISCONNECTS}, code


def test_names_exist():
    for name in re.findall(r"`(?:flyball\.)?([A-Z]\w+)(?:\(|`)", TEXT):
        assert hasattr(flyball, name) or name in ("True", "False", "None", "TestClient"), name
    for name in re.findall(r"`node\.(\w+)", TEXT):
        assert hasattr(flyball.Node(), name), name


def test_fixtures_exist():
    from flyball.testing import plugin

    for name, _ in rows("fixture"):
        assert hasattr(plugin, name.strip("`")), name


def test_tables_of_options_are_up_to_date():
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run([sys.executable, ROOT / "scripts/library_doc.py", "--check"], check=True)
        return
    pytest.fail("run scripts/library_doc.py")
