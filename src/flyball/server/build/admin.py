"""The operators' page, and what it is told of the configuration."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import inspect as shapes

from flyball.core.errors import ConfigError, Error
from flyball.server.admin import Admin, AdminOptions
from flyball.server.admin.routes import AdminSources
from flyball.server.api.http import ApiHandler, HttpApiOptions
from flyball.server.api.methods import METHODS
from flyball.server.api.service import ApiService
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.auth.jose import take_apart
from flyball.server.auth.make import sign
from flyball.server.build.policy import token_verifiers
from flyball.server.build.transports import clean_path
from flyball.server.config import insecure_switches, unbuilt_options
from flyball.server.config.table import SectionClass, Shape, fields_of, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flyball.core.node import Node
    from flyball.server.auth.jwks import JwksClient
    from flyball.server.common.health import Health
    from flyball.server.config import Config

HIDDEN: Final = "••••••"
"""In place of a secret that is set."""
_USER_INFO: Final = re.compile(r"(?<=://)[^@/\s]+(?=@)")


class ShownServer(Protocol):
    """What the page shows of a server; a reload of the configuration puts other values here."""

    config: Config
    sources: Mapping[str, str]
    node: Node
    api: ApiService
    jwks: JwksClient

    def health(self) -> Health:
        """What does not work now."""


def admin_page(server: ShownServer) -> Admin | None:
    """The page, if it is on.

    Raises:
        ConfigError: its files cannot be read.
    """
    options = server.config.admin
    if not options.enabled:
        return None
    sources = AdminSources(
        settings=lambda: settings(server),
        config=lambda: list(shown_options(server.config, server.sources)),
        make_token=lambda asked: make_token(server, asked),
        check_token=lambda asked: check_token(server, asked),
        health=server.health,
    )
    return Admin(
        AdminOptions(
            prefix=clean_path(options.handler_prefix).rstrip("/"),
            password=options.password,
            secret=options.secret,
            insecure=options.insecure,
            external=options.external,
            web_path=options.web_path,
            web_proxy_address=options.web_proxy_address,
        ),
        server.node,
        ApiHandler(server.api, HttpApiOptions()),
        sources,
    )


def settings(server: ShownServer) -> dict[str, Any]:
    """What the page has to know before it shows anything."""
    config, node = server.config, server.node
    return {
        "version": node.options.version,
        "node": node.options.name,
        "uid": node.id,
        "api": "" if config.http_api.disabled else clean_path(config.http_api.handler_prefix),
        "insecure": insecure_switches(config),
        "unbuilt": unbuilt_options(config),
        "problems": server.health().everything,
        "engine": config.engine.type,
        "methods": [_method(name) for name, method in METHODS.items() if method.available],
        "namespaces": [
            {"name": scope_name, "options": _changed(options)}
            for scope_name, options in (
                ("", config.channel.without_namespace),
                *((each.name, each) for each in config.channel.namespaces),
            )
        ],
        "can_sign": bool(config.client.token.hmac_secret_key),
    }


def _method(name: str) -> dict[str, Any]:
    """A method of the server API as a form: its sentence, and its fields by kind."""
    handler = getattr(ApiService, name)
    request = METHODS[name].request
    assert request is not None
    info = shapes.type_info(request)
    assert isinstance(info, shapes.StructType)
    return {
        "name": name,
        "doc": (inspect.getdoc(handler) or "").partition("\n")[0],
        "fields": [{"name": f.encode_name, "kind": _kind(f.type)} for f in info.fields],
    }


_KINDS: Final[tuple[tuple[type[shapes.Type], str], ...]] = (
    (shapes.StrType, "text"),
    (shapes.BoolType, "flag"),
    (shapes.IntType, "number"),
    (shapes.FloatType, "number"),
    (shapes.ListType, "list"),
)


def _kind(kind: shapes.Type) -> str:
    """How a field is put in: text, flag, number, list (of texts) or json."""
    if isinstance(kind, shapes.ListType) and not isinstance(kind.item_type, shapes.StrType):
        return "json"
    return next((name for shape, name in _KINDS if isinstance(kind, shape)), "json")


# -- the configuration


def shown_options(config: Config, sources: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """An entry for each option: its value (no secret), where it came from, and its meaning."""
    yield from _section(config, "", sources)


def _section(section: Any, prefix: str, sources: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    cls: SectionClass = type(section)
    for item in fields_of(cls):
        path, value = prefix + item.name, getattr(section, item.name)
        if item.shape is Shape.SECTION:
            yield from _section(value, f"{path}.", sources)
        elif item.shape is Shape.SECTIONS:
            for index, each in enumerate(value):
                yield from _section(each, f"{path}[{index}].", sources)
        else:
            source = sources.get(path, "default")
            if "[" in path and source == "default":
                continue  # a list's items would be hundreds of rows that say nothing
            yield {
                "path": path,
                "value": _visible(item.shape, plain(item, value), secret=item.meta.secret),
                "source": source,
                "help": item.meta.doc,
            }


def _visible(shape: Shape, value: Any, *, secret: bool) -> Any:
    """A value without anything that opens a door."""
    if secret:
        return HIDDEN if value else ""
    if shape is Shape.MAP:  # headers, and the like: names are enough
        return dict.fromkeys(value, HIDDEN)
    if isinstance(value, list):
        return [_visible(shape, each, secret=False) for each in value]
    return _USER_INFO.sub(HIDDEN, value) if isinstance(value, str) else value


def _changed(options: Any) -> dict[str, Any]:
    cls: SectionClass = type(options)
    return {
        item.name: _visible(item.shape, plain(item, getattr(options, item.name)), secret=False)
        for item in fields_of(cls)
        if item.name != "name"
        and item.shape is not Shape.SECTION
        and getattr(options, item.name) != item.default
    }


# -- tokens of clients


def make_token(server: ShownServer, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A token with the claims asked for, signed with the configured HMAC secret.

    Args:
        server: whose configuration signs.
        asked: ``claims``, an object; those with ``channel`` are of a subscription.

    Raises:
        ConfigError: there is no secret to sign with, or ``claims`` is no object.
    """
    claims = asked.get("claims")
    if not isinstance(claims, dict):
        raise ConfigError("claims must be an object")
    client = server.config.client
    options = client.subscription_token_options if "channel" in claims else client.token
    if not options.hmac_secret_key:
        raise ConfigError("no HMAC secret key set (client.token.hmac_secret_key)")
    return {"token": sign(claims, options.hmac_secret_key)}


async def check_token(server: ShownServer, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the server thinks of a token: valid or why not, and what is in it."""
    text = str(asked.get("token", "")).strip()
    try:
        parts = take_apart(text)
    except InvalidToken as error:
        return {"valid": False, "reason": str(error)}
    claims = parts.claims.decode(errors="replace")
    found: dict[str, Any] = {"algorithm": parts.header.alg, "claims": claims}
    tokens, sub_tokens = token_verifiers(server.config, server.node.clock, server.jwks)
    try:
        if asked.get("subscription"):
            verified = await (sub_tokens or tokens).verify_subscribe_token(text)
            return {**found, "valid": True, "user": verified.user, "channel": verified.channel}
        return {**found, "valid": True, "user": (await tokens.verify_connect_token(text)).user}
    except TokenExpired as error:
        return {**found, "valid": False, "reason": str(error) or "it has expired"}
    except (InvalidToken, Error) as error:
        return {**found, "valid": False, "reason": str(error)}
