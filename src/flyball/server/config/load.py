"""Loads the configuration: defaults, file, environment, flags, the later winning over the earlier.

All wrong values are gathered and reported together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from flyball.server.common.option import Scalar
from flyball.server.config import values, version5
from flyball.server.config.problems import ConfigProblems, Notice, Problem, shown
from flyball.server.config.schema import Config
from flyball.server.config.sources import expand, read_dotenv, read_file
from flyball.server.config.table import (
    ENV_PREFIXES,
    NAMED_LISTS,
    PROCESS_VARIABLES,
    OptionField,
    SectionClass,
    Shape,
    env_item,
    field_names,
    fields_of,
    rows,
)
from flyball.server.config.validate import validate

UNKNOWN_KEY: Final = "unknown key in configuration file"
UNKNOWN_VARIABLE: Final = "unknown var in environment"

# Kubernetes describes services in variables: a service "centrifugo" looks like ours.
_KUBERNETES: Final = re.compile(
    r"(?:[A-Z0-9_]+_)?(?:SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)"
    r"|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
_SERVICE_URL: Final = re.compile(r"(?:tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and what was seen while loading it."""

    config: Config
    """The values."""
    path: Path | None
    """The file that was read, None when none was."""
    notices: tuple[Notice, ...]
    """Things to warn about."""
    unknown_keys: tuple[str, ...]
    """Keys of the file that no option has, such as ``channel.namespaces.[0].q``."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where the values of options came from that are not at their defaults, by path."""


@dataclass(slots=True)
class _Context:
    """What is shared while one configuration is put together."""

    environ: Mapping[str, str]
    flags: Mapping[str, str]
    file: str = "configuration file"
    problems: list[Problem] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    known_variables: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    old_keys: list[str] = field(default_factory=list)
    """Keys and variables that are named as in Centrifugo 5, with what to do about each."""

    def variable(self, name: str) -> tuple[str, str] | None:
        """Returns the full name and the value of the variable that is set for ``name``."""
        self.known_variables.add(name)
        for prefix in ENV_PREFIXES:
            value = self.environ.get(prefix + name, "")
            if value:
                return prefix + name, value
        return None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the tree a section stands."""

    path: str
    """Path with the dot that leads to options, as in messages: ``channel.``."""
    dotted: str
    """The same in the form of unknown keys: ``channel.namespaces.[0].``."""
    env: str | None
    """Start of variables, None where there are none."""
    source: str
    """Where raw values of this section come from."""
    from_file: bool = True
    """False inside the JSON value of a variable."""

    def below(self, name: str) -> _Place:
        env = None if self.env is None else f"{self.env}{name.upper()}_"
        return _Place(
            f"{self.path}{name}.", f"{self.dotted}{name}.", env, self.source, self.from_file
        )


def load_config(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str] | None = None,
    dotenv: str | Path | None = None,
    look: Callable[[Config], list[Problem]] = validate,
) -> LoadedConfig:
    """Loads a configuration.

    Args:
        path: File in JSON, YAML or TOML; a missing file is a notice, not a problem.
        environ: Environment variables; ``FLYBALL_X`` goes before ``CENTRIFUGO_X``.
        flags: Option path to text, of the flags given on the command line.
        dotenv: A ``.env`` file with more variables; those in ``environ`` go first.
        look: Finds what else is wrong when values are, so that all is told together.

    Raises:
        ConfigError: The file cannot be read, or values are wrong; names all of them.
    """
    if dotenv is not None:
        environ = read_dotenv(Path(dotenv), environ)
    # Asked for each option: os.environ takes its time to answer.
    context = _Context(dict(environ), flags or {})
    tree: dict[str, Any] = {}
    used: Path | None = None
    if path is not None:
        context.file = f"file {path}"
        try:
            tree = read_file(Path(path))
            used = Path(path)
        except FileNotFoundError:
            context.notices.append(
                Notice("config file not found", str(path), "environment and flags are used")
            )
    tree = expand(tree, environ, context.problems, context.file)
    config: Config = _section(Config, tree, _Place("", "", "", context.file), context)
    _look_at_flags(context)
    _look_at_variables(context)
    log: SectionClass = type(config.log)
    levels = field_names(log)["level"].meta.allowed
    if config.log.level not in levels:
        hint = f"info is used; allowed are {', '.join(levels)}"
        context.notices.append(Notice("unknown log level", config.log.level, hint))
    _tell_version(context)
    if context.problems:
        raise ConfigProblems([*context.problems, *_more(config, context, look)], context.notices)
    unknown = tuple(sorted(context.unknown_keys))
    return LoadedConfig(config, used, tuple(context.notices), unknown, context.sources)


def _section(
    cls: SectionClass, raw: Any, place: _Place, context: _Context, fixed: str | None = None
) -> Any:
    """Builds a section from raw values, variables and flags. ``fixed`` is an item's own name."""
    given = _gather(cls, raw, place, context)
    made: dict[str, Any] = {} if fixed is None else {"name": fixed}
    for item in fields_of(cls):
        if item.name in made:
            continue
        if item.shape is Shape.SECTION:
            assert item.section is not None
            below = place.below(item.name)
            made[item.name] = _section(item.section, given.get(item.name), below, context)
        else:
            made[item.name] = _value(item, given.get(item.name), place, context)
    return cls(**made)


def _gather(cls: SectionClass, raw: Any, place: _Place, context: _Context) -> dict[str, Any]:
    """Returns the raw values of a section by field name: lower case, dots taken apart."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        key = place.path.rstrip(".")
        secret = any(item.meta.secret for item in fields_of(cls))
        text = f"{shown(raw, secret=secret)} is not allowed; expected an object with options"
        if (name := version5.new_name(key)) and isinstance(raw, (str, bool, int)):
            context.old_keys.append(key)
            text += f" ({version5.SO_IN_5} {name})"
        context.problems.append(Problem(key, text, place.source))
        return {}
    names = field_names(cls)
    given: dict[str, Any] = {}
    for key, value in raw.items():
        head, dot, rest = str(key).lower().partition(".")
        if head not in names:
            _unknown_key(str(key).lower(), list(names), place, context)
            continue
        part = {rest: value} if dot else value
        before = given.get(head)
        given[head] = _merge(before, part) if before is not None else part
    return given


def _merge(left: Any, right: Any) -> Any:
    """Joins the nested and the dotted form of one object; the later value wins."""
    if not (isinstance(left, Mapping) and isinstance(right, Mapping)):
        return right
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _merge(merged[key], value) if key in merged else value
    return merged


def _unknown_key(key: str, names: list[str], place: _Place, context: _Context) -> None:
    full = f"{place.dotted}{key}"
    hint = version5.advice(key, place.dotted)
    if hint:
        context.old_keys.append(full)
    else:
        hint = _guess(key, names, place)
    if place.from_file:
        context.unknown_keys.append(full)
        context.notices.append(Notice(UNKNOWN_KEY, full, hint))
    else:
        context.notices.append(Notice(f"unknown key in {place.source}", full, hint))


def _guess(key: str, names: list[str], place: _Place) -> str:
    near = get_close_matches(key, names, 1, 0.7)
    if near:
        return f"did you mean {place.dotted}{near[0]}?"
    paths = {row.path.replace(".", "_"): row.path for row in rows()}
    near = get_close_matches(f"{place.dotted}{key}".replace(".", "_"), paths, 1, 0.75)
    return f"did you mean {paths[near[0]]}?" if near else ""


def _value(item: OptionField, raw: Any, place: _Place, context: _Context) -> Any:
    """Returns the value of an option: flag, else variable, else raw value, else default."""
    path = f"{place.path}{item.name}"
    flag = context.flags.get(path) if item.meta.flag else None
    name = None if place.env is None else f"{place.env}{item.name.upper()}"
    found = None if name is None else context.variable(name)
    if item.shape is Shape.SECTIONS:
        return _sections(item, raw, found, place, context)
    # A zero in a file cannot be told from an absent key: it leaves the default as it is.
    value = item.default if raw is None else _read(item, raw, place, context) or item.default
    source = place.source if raw is not None else ""
    if flag is not None:
        source = f"flag --{path}"
        value = _read_text(item, flag, path, source, context)
    elif found is not None:
        source = f"environment variable {found[0]}"
        value = _read_text(item, found[1], path, source, context)
    if source:
        context.sources[path] = source
    return value


def _read(item: OptionField, raw: Any, place: _Place, context: _Context) -> Any:
    """Reads a value of a file, or of the JSON in a variable; None when it is wrong."""
    path = f"{place.path}{item.name}"
    try:
        match item.shape:
            case Shape.STRINGS:
                return values.read_strings(raw)
            case Shape.MAP:
                return values.read_map(raw, lower=place.from_file)
            case _:
                assert isinstance(item.scalar, Scalar)
                return values.read_scalar(item.scalar, raw, text_only=False)
    except ValueError as error:
        text = f"{shown(raw, secret=item.meta.secret)} is not allowed; expected {error}"
        context.problems.append(Problem(path, text, place.source))
        return None


def _read_text(item: OptionField, text: str, path: str, source: str, context: _Context) -> Any:
    """Reads a value of a variable or flag; the default when it is wrong."""
    try:
        match item.shape:
            case Shape.STRINGS:
                return tuple(map(values.read_string, text.split()))
            case Shape.MAP:
                return values.read_map(values.read_json(text), lower=False)
            case _:
                assert isinstance(item.scalar, Scalar)
                return values.read_scalar(item.scalar, text, text_only=True)
    except ValueError as error:
        message = f"{shown(text, secret=item.meta.secret)} is not allowed; expected {error}"
        if _SERVICE_URL.match(text):
            message += (
                "; it looks like set by Kubernetes for a service of this name:"
                " set enableServiceLinks: false in the pod, or rename the service"
            )
        context.problems.append(Problem(path, message, source))
        return item.default


def _sections(
    item: OptionField, raw: Any, found: tuple[str, str] | None, place: _Place, context: _Context
) -> tuple[Any, ...]:
    """Reads a list of sections: from the file, from JSON in a variable, or by names."""
    assert item.section is not None
    path = f"{place.path}{item.name}"
    named = path in NAMED_LISTS
    names: list[str] = []
    items: list[Any] = []
    if found is not None and named and not found[1].lstrip().startswith(("[", "{")):
        names = found[1].split()
    elif found is not None:
        variable = f"environment variable {found[0]}"
        place = _Place(place.path, place.dotted, place.env, variable, from_file=False)
        try:
            raw = values.read_json(found[1])
        except ValueError as error:
            context.problems.append(Problem(path, f"expected {error}", variable))
            raw = None
    if raw is not None:
        if isinstance(raw, list):
            items = raw
        elif raw not in ("", {}):
            text = f"{shown(raw)} is not allowed; expected a list of objects"
            context.problems.append(Problem(path, text, place.source))
    made = [
        _item(item, each, index, place, context, named=named) for index, each in enumerate(items)
    ]
    present = {each.name for each in made} if named else set()
    for name in dict.fromkeys(names):
        if name not in present:
            made.append(_item(item, {"name": name}, len(made), place, context, named=True))
    return tuple(made)


def _item(
    item: OptionField, raw: Any, index: int, place: _Place, context: _Context, *, named: bool
) -> Any:
    """Builds one item of a list of sections; an item with a name has variables of its own."""
    assert item.section is not None
    env, fixed = None, None
    if named and place.env is not None and isinstance(raw, Mapping):
        name = next((v for k, v in raw.items() if str(k).lower() == "name"), None)
        if isinstance(name, (str, int)) and name:
            fixed = str(name)
            env = f"{place.env}{item.name.upper()}_{env_item(fixed)}_"
    below = _Place(
        f"{place.path}{item.name}[{index}].",
        f"{place.dotted}{item.name}.[{index}].",
        env,
        place.source,
        place.from_file,
    )
    return _section(item.section, raw, below, context, fixed)


def _look_at_flags(context: _Context) -> None:
    known = {row.path for row in rows() if row.flag}
    for path in context.flags:
        if path not in known:
            near = _suggest(path, known)
            context.problems.append(Problem("", f"there is no flag --{path}{near}", "command line"))


def _look_at_variables(context: _Context) -> None:
    """Notes variables with our prefixes that mean nothing: most are misspelled."""
    for name in sorted(context.environ):
        prefix = next((each for each in ENV_PREFIXES if name.startswith(each)), None)
        if prefix is None:
            continue
        rest = name.removeprefix(prefix)
        if rest in context.known_variables or rest.startswith("VAR_") or name in PROCESS_VARIABLES:
            continue
        if _KUBERNETES.fullmatch(rest):
            continue
        context.notices.append(
            Notice(UNKNOWN_VARIABLE, name, _guess_variable(prefix, rest, context))
        )


def _guess_variable(prefix: str, rest: str, context: _Context) -> str:
    if new := version5.new_name(rest.lower()):
        context.old_keys.append(f"{prefix}{rest}")
        if " " not in new:
            new = prefix + new.upper().replace(".", "_")
        return f"{version5.SO_IN_5} {new}"
    near = get_close_matches(rest, context.known_variables, 1, 0.8)
    return f"did you mean {prefix}{near[0]}?" if near else ""


def _more(
    config: Config, context: _Context, look: Callable[[Config], list[Problem]]
) -> list[Problem]:
    """What else is wrong, with defaults in place of what could not be read.

    Nothing is said of a configuration that lost items which others name: it would not be true.
    """
    told = {problem.key for problem in context.problems}
    if any(key.startswith(NAMED_LISTS) for key in told):
        return []
    return [problem for problem in look(config) if problem.key not in told]


def _tell_version(context: _Context) -> None:
    """One old name may be a slip; more of them are a configuration of the version before."""
    if len(context.old_keys) > 1:
        count = len(context.old_keys)
        hint = f"{count} keys have other names since version 6, and no effect; each is told below"
        context.notices.insert(0, Notice("configuration of Centrifugo 5", context.file, hint))


def _suggest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), 1)
    return f"; did you mean --{near[0]}?" if near else ""
