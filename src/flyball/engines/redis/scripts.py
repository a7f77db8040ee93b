"""The Lua scripts: run by their hash, sent in full where a server does not know them yet."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from flyball.engines.redis.connection import pack

if TYPE_CHECKING:
    from collections.abc import Sequence


class Script:
    """A script of the ``lua`` folder."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.text: bytes = files(__package__).joinpath("lua", f"{name}.lua").read_bytes()
        self.sha: str = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[bytes], args: Sequence[Any]) -> bytes:
        """Runs it by its hash."""
        return pack(("EVALSHA", self.sha, len(keys), *keys, *args))

    def full_command(self, keys: Sequence[bytes], args: Sequence[Any]) -> bytes:
        """Runs it where it is not known: the server knows it after that."""
        return pack(("EVAL", self.text, len(keys), *keys, *args))


PUBLISH_STREAM: Final = Script("publish_stream")
PUBLISH_LIST: Final = Script("publish_list")
PUBLISH_ONCE: Final = Script("publish_once")
HISTORY_STREAM: Final = Script("history_stream")
HISTORY_LIST: Final = Script("history_list")
LOOK_BACK: Final = Script("look_back")
RENEW_EPOCH: Final = Script("renew_epoch")
PRESENCE_ADD: Final = Script("presence_add")
PRESENCE_REMOVE: Final = Script("presence_remove")
PRESENCE_GET: Final = Script("presence_get")
PRESENCE_STATS: Final = Script("presence_stats")
