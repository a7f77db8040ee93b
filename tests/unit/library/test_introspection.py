"""What ``help()``, signatures and type checkers see of the library."""

import ast
import dataclasses
import inspect
import json
import os
import pydoc
import subprocess
import typing
from pathlib import Path

import msgspec
import pytest
from processes import BIN, ROOT

import flyball
import flyball.engines
import flyball.testing
from flyball.core.keywords import PublishKeywords, SubscribeKeywords
from flyball.serving import ServeKeywords

MODULES = (flyball, flyball.asgi, flyball.engines, flyball.testing)
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in module.__all__
    if name != "__version__"
}
VALUES = {
    name: value
    for name, value in PUBLIC.items()
    if dataclasses.is_dataclass(value)
    or (inspect.isclass(value) and issubclass(value, msgspec.Struct))
}


@pytest.mark.parametrize("name", PUBLIC)
def test_help(name):
    value = PUBLIC[name]
    text = pydoc.plain(pydoc.render_doc(value))
    assert inspect.getdoc(value), name
    assert name.rsplit(".", 1)[1] in text


@pytest.mark.parametrize("name", VALUES)
def test_values_tell_their_types(name):
    assert typing.get_type_hints(VALUES[name])
    assert inspect.signature(VALUES[name])


def fields_without_docs(value):
    """Fields of a class that no text follows."""
    tree = ast.parse(Path(inspect.getsourcefile(value)).read_text())
    (found,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == value.__name__]
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and not documented:
            yield node.target.id


@pytest.mark.parametrize("name", VALUES)
def test_every_field_is_documented(name):
    for value in VALUES[name].__mro__:
        if value.__module__.startswith("flyball"):
            assert not list(fields_without_docs(value))


def test_the_face_of_a_node():
    shown = {name for name in dir(flyball.Node) if not name.startswith("_")}
    internals = {"adopt", "soon", "spawn", "settle_channel", "handlers"}
    internals |= {"on_publication", "on_join", "on_leave", "on_broker_restored", "on_control"}
    assert not shown & internals
    text = pydoc.plain(pydoc.render_doc(flyball.Node))
    for kind in set(flyball.Node()._handlers.__slots__) - {"failures", "payload_faults"}:
        decorator = getattr(flyball.Node, kind)
        assert f"{kind}(" in text
        assert "Handler" in str(inspect.signature(decorator)), kind
        assert any(word in decorator.__doc__ for word in ("Answer:", "is logged", "Takes")), kind


@pytest.mark.parametrize(
    ("keywords", "options"),
    [
        (PublishKeywords, flyball.PublishOptions),
        (SubscribeKeywords, flyball.SubscribeOptions),
        (ServeKeywords, flyball.ServeOptions),
    ],
)
def test_keywords_are_the_fields_of_the_options(keywords, options):
    known, fields = typing.get_type_hints(keywords), typing.get_type_hints(options)
    assert list(known) == list(inspect.signature(options).parameters)
    for name, kind in known.items():
        # Options keep tuples; who gives them one by one may write a list.
        assert kind == fields[name] or name in ("origins", "transports"), name


def test_keywords_are_shown():
    for function, options in (
        (flyball.Node.publish, flyball.PublishOptions),
        (flyball.Node.subscribe_user, flyball.SubscribeOptions),
        (flyball.run, flyball.ServeOptions),
        (flyball.serve, flyball.ServeOptions),
    ):
        shown = inspect.signature(function).parameters
        assert set(inspect.signature(options).parameters) <= set(shown)
        assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())


async def test_keywords_win_over_options(flyball_node):
    options = flyball.PublishOptions(history_size=9, history_ttl=60)
    for number in range(3):
        await flyball_node.publish("news", number, options, history_size=2)
    kept = await flyball_node.history("news")
    assert [bytes(p.data) for p in kept.publications] == [b"1", b"2"]
    with pytest.raises(TypeError, match="histroy_size"):
        await flyball_node.publish("news", 1, histroy_size=2)


def test_what_serving_refuses_before_anything_runs():
    with pytest.raises(TypeError, match="origins must be several texts"):
        flyball.run(flyball.Node(), origins="https://example.com")
    with pytest.raises(TypeError, match="prot"):
        flyball.run(flyball.Node(), prot=1)


def test_public_types_are_known():
    """What another checker could see otherwise is no type: 99 % of all names have one."""
    environ = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [BIN / "pyright", "--verifytypes", "flyball", "--ignoreexternal", "--outputjson"]
    told = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=False).stdout
    found = json.loads(told)["typeCompleteness"]
    untyped = [
        f"{line['file']}:{line['range']['start']['line'] + 1}: {symbol['name']}"
        for symbol in found["symbols"]
        for line in symbol["diagnostics"]
        if "missing type annotation" in line["message"]
    ]
    assert found["completenessScore"] >= 0.99, "annotate these: " + "\n".join(untyped)
