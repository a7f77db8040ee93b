"""Writes the tables of options in docs/library.md from the classes themselves.

Usage: ``python scripts/library_doc.py`` writes; with ``--check`` it only says whether the page is
up to date (exit code 1 if not).
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

import flyball

PAGE = Path(__file__).resolve().parent.parent / "docs" / "library.md"
TABLE = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documented(kind: type) -> dict[str, str]:
    """Field to its text, in order, fields of base classes first."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("flyball"):
            continue
        tree = ast.parse(Path(inspect.getsourcefile(base) or "").read_text())
        body = next(
            n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == base.__name__
        )
        for node, text in itertools.pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                assert isinstance(text, ast.Expr)
                found[node.target.id] = ast.literal_eval(text.value)
    return found


def defaults(kind: type) -> dict[str, str]:
    """Field to its default, as it is written."""
    if dataclasses.is_dataclass(kind):
        return {f.name: _shown(f.default, f.default_factory) for f in dataclasses.fields(kind)}
    return {f.name: _shown(f.default, f.default_factory) for f in msgspec.structs.fields(kind)}


def _shown(default: Any, factory: Any) -> str:
    nothing = (dataclasses.MISSING, msgspec.NODEFAULT)
    if default not in nothing:
        value = f"{type(default).__name__}.{default.name}" if hasattr(default, "name") else default
        return f"`{value if isinstance(value, str) and hasattr(default, 'name') else repr(value)}`"
    if factory in nothing:
        return ""
    made = factory()
    return f"`{made!r}`" if isinstance(made, (dict, list, tuple)) else ""


def table(name: str) -> str:
    """The rows of a class's fields."""
    kind = getattr(flyball, name)
    lines = ["| field | default | meaning |", "|---|---|---|"]
    given = defaults(kind)
    for field, text in documented(kind).items():
        line = " ".join(text.replace("``", "`").replace("|", "\\|").split())
        line = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", line)
        lines.append(f"| `{field}` | {given[field]} | {line} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """``text`` with all its tables as they must be."""
    return TABLE.sub(lambda m: m[1] + table(m[2]) + m[3], text)


def main() -> int:
    """Writes or checks the page."""
    before = PAGE.read_text()
    after = page(before)
    if "--check" in sys.argv[1:]:
        return int(before != after)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
