"""Documentation of all options, made from the schema."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from flyball.core.errors import ConfigError
from flyball.server.config.table import ENV_PREFIXES, Row, Shape, rows

_TOP_LEVEL: Final = 6


def documented(section: str = "") -> list[Row]:
    """Returns the rows of ``section`` and below it, of all options when it is empty.

    Raises:
        ConfigError: There is no such section or option.
    """
    wanted = section.strip().lower().removesuffix("[]")
    found = [row for row in rows() if not row.hidden and _within(row.path, wanted)]
    if not found:
        near = get_close_matches(wanted, [row.path for row in rows()], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f'there is no section "{section}" in the configuration{hint}')
    return found


def _within(path: str, section: str) -> bool:
    return not section or path == section or path.startswith((f"{section}.", f"{section}[]"))


def markdown(section: str = "", level: int = 2) -> str:
    """Describes options in Markdown, one heading for each.

    Args:
        section: Path of a section; empty describes everything.
        level: Level of the headings of top options, 1 to 6; options below them go deeper.

    Raises:
        ConfigError: There is no such section.
    """
    base = section.count(".") if section else 0
    parts = [
        _entry(row, min(_TOP_LEVEL, level + row.path.count(".") - base))
        for row in documented(section)
    ]
    return "\n".join(parts)


def _entry(row: Row, level: int) -> str:
    lines = [f"{'#' * level} `{row.path}`", "", row.field.meta.doc, ""]
    lines += [f"- {name}: {_code(value)}" for name, value in facts(row)]
    return "\n".join(lines) + "\n"


def _code(value: str) -> str:
    return f"`{value}`" if value else "empty"


def facts(row: Row) -> Iterator[tuple[str, str]]:
    """Yields what is known about an option, beside its description."""
    yield "type", row.field.type_name
    if row.field.shape is not Shape.SECTION:
        yield "default", _default(row.default)
    if row.field.meta.allowed:
        yield "allowed", " ".join(json.dumps(each) for each in row.field.meta.allowed)
    if row.env:
        yield "environment", " ".join(prefix + row.env for prefix in ENV_PREFIXES)
    if row.flag:
        short = row.field.meta.short
        yield "flag", f"{row.flag}, {short}" if short else row.flag
    if row.note:
        yield "note", row.note


def _default(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Flyball configuration</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem;
  padding: 0 1rem; color: #222; background: #fff; }}
input {{ font: inherit; width: 100%; padding: .5rem; box-sizing: border-box; }}
section {{ border-top: 1px solid #ddd; padding: .6rem 0; }}
h2 {{ font: 600 15px/1.4 ui-monospace, monospace; margin: 0; overflow-wrap: anywhere; }}
p {{ margin: .2rem 0; }}
dl {{ margin: 0; display: grid; grid-template-columns: 7rem 1fr; font-size: 13px; color: #555; }}
dd {{ margin: 0; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #ddd; background: #161616; }} section {{ border-color: #333; }}
  dl {{ color: #aaa; }} }}
</style>
<h1>Flyball configuration</h1>
<input type="search" placeholder="Search {count} options" aria-label="Search options" autofocus>
<main>
{entries}
</main>
<script>
const sections = [...document.querySelectorAll("section")];
document.querySelector("input").addEventListener("input", (event) => {{
  const words = event.target.value.toLowerCase().split(/\\s+/);
  for (const section of sections) {{
    const text = section.textContent.toLowerCase();
    section.hidden = !words.every((word) => text.includes(word));
  }}
}});
</script>
</html>
"""


def page(section: str = "") -> str:
    """Describes options on one HTML page with a search field.

    Raises:
        ConfigError: There is no such section.
    """
    found = documented(section)
    return _PAGE.format(count=len(found), entries="\n".join(_html(row) for row in found))


def _html(row: Row) -> str:
    path, doc = html.escape(row.path), html.escape(row.field.meta.doc)
    known = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value) or 'empty'}</dd>"
        for name, value in facts(row)
    )
    return f'<section id="{path}"><h2>{path}</h2><p>{doc}</p><dl>{known}</dl></section>'
