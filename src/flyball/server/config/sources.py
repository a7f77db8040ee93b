"""Where raw settings come from: files in three languages, ``.env``, variables inside values."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from flyball.core.errors import ConfigError
from flyball.server.config.problems import Problem
from flyball.server.config.values import TOO_DEEP, check_depth

_VARIABLE: Final = re.compile(r"\$\{((?:CENTRIFUGO|FLYBALL)_VAR_[A-Za-z0-9_]+)\}")


class _YamlLoader(yaml.SafeLoader):
    """YAML 1.2's booleans and no dates: ``yes``, ``off`` and ``2024-01-01`` stay text."""


_YamlLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag
        not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)$"),
    list("-+0123456789"),
)


def _load_yaml(text: str) -> Any:
    # The loader derives from SafeLoader: plain data only.
    return yaml.load(text, Loader=_YamlLoader)  # noqa: S506


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": _load_yaml,
    ".yml": _load_yaml,
}


def read_file(path: Path) -> dict[str, Any]:
    """Reads a configuration file as nested objects.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file cannot be read, or is not what its extension says.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        allowed = ", ".join(sorted(_READERS))
        raise ConfigError(
            f"{path}: unknown extension {path.suffix!r} of the configuration file;"
            f" allowed are {allowed}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the configuration file cannot be read: {error}") from None
    try:
        tree = reader(text)
        check_depth(tree)
    except RecursionError:
        raise ConfigError(f"{path}: {TOO_DEEP}") from None
    except (ValueError, yaml.YAMLError) as error:
        language = path.suffix[1:].upper().replace("YML", "YAML")
        where = _position(error)
        raise ConfigError(f"{path}: the file is not valid {language}: {where}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: the file must hold an object with options")
    return tree


def _position(error: Exception) -> str:
    """Says where a file breaks without quoting it: it may hold secrets."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} at line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(error, yaml.YAMLError):
        return "it holds characters that YAML does not allow"
    if isinstance(error, (json.JSONDecodeError, tomllib.TOMLDecodeError)):
        return str(error)
    return "it holds a number that cannot be read"


def expand(
    tree: Any, environ: Mapping[str, str], problems: list[Problem], source: str, path: str = ""
) -> Any:
    """Replaces ``${CENTRIFUGO_VAR_X}`` and ``${FLYBALL_VAR_X}`` in all strings of ``tree``.

    A variable that is not set becomes a problem.
    """
    if isinstance(tree, dict):
        return {
            key: expand(value, environ, problems, source, f"{path}.{key}" if path else str(key))
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [
            expand(value, environ, problems, source, f"{path}[{index}]")
            for index, value in enumerate(tree)
        ]
    if not isinstance(tree, str):
        return tree

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            text = f"refers to the environment variable {name}, which is not set; set it"
            problems.append(Problem(path, text, source))
        return environ.get(name, "")

    return _VARIABLE.sub(replace, tree)


_DOTENV_LINE: Final = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.]*)[ \t]*[=:][ \t]*
    (?: '(?P<single>[^']*)' | "(?P<double>(?:\\.|[^"\\])*)" | (?P<plain>[^\r\n]*) )
    [ \t]*(?:\#[^\r\n]*)?\r?$""",
    re.MULTILINE | re.VERBOSE,
)
_REFERENCE: Final = re.compile(r"\\?\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns ``environ`` with the variables of a ``.env`` file that are not set yet.

    Lines are ``NAME=value``; single quotes keep all as it is, double quotes know escapes and may
    span lines, ``$NAME`` and ``${NAME}`` are replaced except in single quotes. A missing file
    adds nothing.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return dict(environ)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the file cannot be read: {error}") from None
    found: dict[str, str] = {}

    def reference(match: re.Match[str]) -> str:
        if match[0].startswith("\\"):
            return match[0][1:]
        name = match[1] or match[2]
        return found.get(name, environ.get(name, ""))

    for match in _DOTENV_LINE.finditer(text):
        if match["single"] is not None:
            value = match["single"]
        elif match["double"] is not None:
            value = _REFERENCE.sub(reference, match["double"])
            value = re.sub(r"\\(.)", lambda part: _ESCAPES.get(part[1], part[1]), value)
        else:
            value = _REFERENCE.sub(reference, re.sub(r"(^|\s)#.*", "", match["plain"]).strip())
        found[match["name"]] = value
    return {**found, **environ}
