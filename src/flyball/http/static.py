"""Files of a package as rows of the route table.

They are read once, when the table is made, and each has a row of its own: nothing but these
files can be asked for, whatever a path looks like.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from flyball.http.messages import TEXT_TYPE, Headers, Response, empty
from flyball.http.routes import Route

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from flyball.http.messages import RequestHead

METHODS: Final = ("GET", "HEAD")
REVALIDATE: Final = "no-cache"
"""Browsers may keep a file, and ask each time whether it is still the same."""
FOREVER: Final = "public, max-age=31536000, immutable"
"""For files whose names change with their content."""
VARIES: Final = ("Vary", "Accept-Encoding")
GZIPPED: Final = ("Content-Encoding", "gzip")
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "map": "application/json; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": TEXT_TYPE,
    "wasm": "application/wasm",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
"""Content types by the ends of names."""


def content_type(name: str) -> str:
    """The type of a file, by its name's end."""
    return _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def read_tree(folder: Traversable, below: str = "") -> dict[str, bytes]:
    """All files of a folder and the folders in it, by their paths below it (``js/app.js``)."""
    found: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= read_tree(entry, f"{below}{entry.name}/")
        else:
            found[below + entry.name] = entry.read_bytes()
    return found


def static_routes(
    prefix: str,
    files: Mapping[str, bytes],
    *,
    headers: Headers = (),
    cache_control: str = REVALIDATE,
    option: str = "",
) -> list[Route]:
    """A row for each file.

    Args:
        prefix: where they are, without a slash at its end.
        files: contents by the paths below the prefix.
        headers: of all answers, beside the type, ``Cache-Control`` and ``ETag``.
        cache_control: :data:`REVALIDATE`, :data:`FOREVER` or another value of the header.
        option: what sets the prefix.
    """
    return [
        static_route(
            f"{prefix}/{name}",
            body,
            content_type(name),
            headers=headers,
            cache_control=cache_control,
            option=option,
        )
        for name, body in files.items()
    ]


def static_route(
    path: str,
    body: bytes,
    kind: str,
    *,
    headers: Headers = (),
    cache_control: str = REVALIDATE,
    option: str = "",
    internal: bool = False,
    compress: bool = False,
) -> Route:
    """A file of the content type ``kind``; see :func:`static_routes`.

    With ``compress`` clients that take gzip get it so, compressed once.
    """
    both = (*headers, ("Cache-Control", cache_control), *((VARIES,) if compress else ()))
    plain = _Variant.of(body, kind, both)
    packed = plain
    if compress:
        packed = _Variant.of(gzip.compress(body, mtime=0), kind, (*both, GZIPPED))

    def answer(head: RequestHead, _body: bytes) -> Response:
        found = packed if compress and takes_gzip(head) else plain
        return found.unchanged if is_known(head, found.tag) else found.whole

    return Route(path, answer, methods=METHODS, option=option, internal=internal)


@dataclass(frozen=True, slots=True)
class _Variant:
    """A file as it is sent to some clients."""

    tag: str
    whole: Response
    unchanged: Response

    @classmethod
    def of(cls, body: bytes, kind: str, headers: Headers) -> Self:
        tag = entity_tag(body)
        fields = (*headers, ("ETag", tag))
        return cls(tag, Response(body, content_type=kind, headers=fields), empty(304, fields))


def takes_gzip(head: RequestHead) -> bool:
    """Whether the client takes gzip (``Accept-Encoding``, RFC 9110, 12.5.3)."""
    for part in head.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def entity_tag(body: bytes) -> str:
    """The ``ETag`` of a content."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(head: RequestHead, tag: str) -> bool:
    """Whether the client has the content with this tag (``If-None-Match``, RFC 9110, 13.1.2)."""
    given = head.headers.get("if-none-match", "").strip()
    if given == "*":
        return True
    return tag in [one.strip().removeprefix("W/") for one in given.split(",")]
