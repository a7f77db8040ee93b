"""An AsyncAPI 3 document of a node: its channels, methods and what their payloads are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from flyball.core.handlers import Handlers
    from flyball.core.node import Node

__all__ = ["asyncapi"]

REFERENCE: Final = "#/components/schemas/{name}"


def asyncapi(node: Node, *, title: str = "", version: str = "") -> dict[str, Any]:
    """Describes what clients can do on ``node``, as an AsyncAPI 3 document.

    Each pattern of ``on_subscribe`` and ``on_publish`` is a channel, each method of ``on_rpc`` an
    operation with a reply; payloads are those that ``schema=`` and :meth:`Node.channel` tell.

    Args:
        node: with its handlers.
        title: of the document; the node's name if not given.
        version: of your protocol; the node's version if not given.
    """
    return _Document(node._handlers).made(  # noqa: SLF001 - no part of its face
        title or node.options.name or "Flyball", version or node.options.version or "0"
    )


class _Document:
    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._channels: dict[str, Any] = {}
        self._operations: dict[str, Any] = {}
        self._schemas: dict[str, Any] = {}

    def made(self, title: str, version: str) -> dict[str, Any]:
        handlers = self._handlers
        for pattern in handlers.on_subscribe.names():
            schema = handlers.on_publish.schemas.get(pattern)
            self._operation("send", "subscribe", pattern, schema)
        for pattern in handlers.on_publish.names():
            schema = handlers.on_publish.schemas.get(pattern)
            self._operation("receive", "publish", pattern, schema)
        for method in handlers.on_rpc.names():
            name = self._operation("receive", "rpc", method, handlers.on_rpc.schemas.get(method))
            self._operations[name]["reply"] = {}
        return {
            "asyncapi": "3.0.0",
            "info": {"title": title, "version": version},
            "defaultContentType": "application/json",
            "channels": self._channels,
            "operations": self._operations,
            "components": {"schemas": self._schemas},
        }

    def _operation(self, action: str, command: str, pattern: str, schema: Any) -> str:
        channel, message = self._channel(command, pattern), self._message(schema)
        known = self._channels[channel]["messages"]
        known.setdefault(message["name"], message)
        name = f"{command}_{channel}"
        reference = f"#/channels/{channel}"
        self._operations[name] = {
            "action": action,
            "channel": {"$ref": reference},
            "summary": f"What clients do by the command `{command}`.",
            "messages": [{"$ref": f"{reference}/messages/{message['name']}"}],
        }
        return name

    def _channel(self, command: str, pattern: str) -> str:
        """The key of a channel, which is made if it is new; methods of RPC have their own."""
        space = "rpc_" if command == "rpc" else ""
        key = space + (re.sub(r"[^A-Za-z0-9]+", "_", pattern).strip("_") or "all")
        if key not in self._channels:
            parts = iter(range(1, len(pattern) + 1))
            address = re.sub(r"[*?]+|\[[^\]]*\]", lambda _: f"{{part{next(parts)}}}", pattern)
            self._channels[key] = {"address": address, "messages": {}}
            named = re.findall(r"\{(part\d+)\}", address)
            if named:
                self._channels[key]["parameters"] = {name: {} for name in named}
        return key

    def _message(self, schema: Any) -> dict[str, Any]:
        if schema is None:
            return {"name": "any", "payload": {}}
        if isinstance(schema, dict):
            return {"name": str(schema.get("title", "payload")), "payload": schema}
        name = getattr(schema, "__name__", "payload")
        if hasattr(schema, "model_json_schema"):
            return {"name": name, "payload": self._of_pydantic(schema)}
        (payload,), parts = msgspec.json.schema_components([schema], ref_template=REFERENCE)
        self._schemas.update(parts)
        return {"name": name, "payload": payload}

    def _of_pydantic(self, model: Any) -> dict[str, Any]:
        made = model.model_json_schema(ref_template=REFERENCE.replace("name", "model"))
        self._schemas.update(made.pop("$defs", {}))
        self._schemas[model.__name__] = made
        return {"$ref": REFERENCE.format(name=model.__name__)}
