"""Writes configurations: files in three languages, environment variables, new secrets."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from flyball.core.errors import ConfigError
from flyball.server.config.schema import Config
from flyball.server.config.table import (
    NAMED_LISTS,
    OptionField,
    SectionClass,
    Shape,
    env_item,
    fields_of,
    plain,
)

_PASSWORD_BYTES: Final = 16
_SECRET_BYTES: Final = 64


def new_config() -> dict[str, Any]:
    """Returns a small configuration with fresh random secrets."""
    return {
        "client": {
            "token": {"hmac_secret_key": secrets.token_urlsafe(_SECRET_BYTES)},
            "allowed_origins": [],
        },
        "admin": {
            "enabled": False,
            "password": secrets.token_urlsafe(_PASSWORD_BYTES),
            "secret": secrets.token_urlsafe(_SECRET_BYTES),
        },
        "http_api": {"key": secrets.token_urlsafe(_SECRET_BYTES)},
    }


def write_new(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, and that must not exist yet.

    Raises:
        ConfigError: The file exists or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"output config file already exists: {path}") from None
    except OSError as error:
        raise ConfigError(f"output config file cannot be written: {path}: {error}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def document(tree: Mapping[str, Any], path: Path) -> str:
    """Writes ``tree`` in the language that the extension of ``path`` names.

    Raises:
        ConfigError: The extension is none of .json, .toml, .yaml, .yml.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        allowed = ", ".join(sorted(_WRITERS))
        raise ConfigError(f"{path}: unknown extension {path.suffix!r}; allowed are {allowed}")
    return writer(tree)


def _write_json(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _write_yaml(tree: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True)


def _write_toml(tree: Mapping[str, Any]) -> str:
    return "\n".join(_toml(tree, ())).strip() + "\n"


_WRITERS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    ".json": _write_json,
    ".toml": _write_toml,
    ".yaml": _write_yaml,
    ".yml": _write_yaml,
}

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def _toml(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yields the lines of one table: values first, as TOML wants, then the tables below it."""
    below: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict) or (value and isinstance(value, list) and _tables(value)):
            below.append((key, value))
        else:
            yield f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in below:
        name = ".".join(_toml_key(part) for part in (*path, key))
        many = isinstance(value, list)
        for item in value if many else [value]:
            yield ""
            yield f"[[{name}]]" if many else f"[{name}]"
            yield from _toml(item, (*path, key))


def _tables(items: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    # Numbers, booleans, lists and strings look the same in both languages, DEL apart.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def environment(
    config: Config, *, prefix: str = "CENTRIFUGO_", changed_only: bool = False
) -> dict[str, str]:
    """Returns the variables that say what ``config`` says.

    Args:
        config: The configuration.
        prefix: Start of the names.
        changed_only: Leave out what the defaults say already; the rest still says it all.
    """
    found = _variables(config, prefix, "")
    return {name: text for name, changed, text in found if changed or not changed_only}


def _variables(section: Any, env: str, path: str) -> Iterator[tuple[str, bool, str]]:
    cls: SectionClass = type(section)
    for item in fields_of(cls):
        value = getattr(section, item.name)
        name = f"{env}{item.name.upper()}"
        below = f"{path}{item.name}"
        if item.shape is Shape.SECTION:
            yield from _variables(value, f"{name}_", f"{below}.")
        elif below in NAMED_LISTS:
            yield name, bool(value), " ".join(each.name for each in value)
            for each in value:
                for variable in _variables(each, f"{name}_{env_item(each.name)}_", f"{below}[]."):
                    if variable[0] != f"{name}_{env_item(each.name)}_NAME":
                        yield variable
        else:
            yield name, value != item.default, _text(item, value)


def _text(item: OptionField, value: Any) -> str:
    written = plain(item, value)
    if item.shape is Shape.STRINGS:
        return " ".join(written)
    if isinstance(written, str):
        return written
    return json.dumps(written, ensure_ascii=False)


_SAFE: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")


def environment_line(name: str, value: str) -> str:
    """Writes a variable as a line of an ``.env`` file or shell script."""
    if _SAFE.fullmatch(value):
        return f"{name}={value}"
    if "'" not in value:
        return f"{name}='{value}'"
    escaped = re.sub(r'([\\"$`])', r"\\\1", value)
    return f'{name}="{escaped}"'
