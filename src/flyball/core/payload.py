"""Payloads as programs see them: bytes that print as what they are and can be decoded."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import msgspec

from flyball.core.errors import Error
from flyball.protocol import codes

__all__ = ["Data", "decode_json"]

T = TypeVar("T")


class Data(bytes):
    """The payload of a publication, a command or an answer: ``bytes``, usually JSON text.

    It compares and prints as bytes do; :meth:`json` decodes it. Empty means absent.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Data({bytes(self)!r})"

    def __str__(self) -> str:
        return self.decode("utf-8", "replace")

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: Any = Any) -> Any:  # noqa: A002
        """The payload, decoded from JSON; None if there is none.

        Args:
            type: what it must be: a msgspec Struct, a dataclass, a TypedDict, a Pydantic model, or
                a type such as ``dict[str, int]``.

        Raises:
            Error: 107, it is no JSON (binary data of a Protobuf client), or does not fit ``type``;
                the log is told where.
        """
        return decode_json(self, type)


def decode_json(data: bytes | msgspec.Raw, kind: Any = Any) -> Any:
    """``data`` decoded into ``kind``; None if it is absent and anything will do.

    Raises:
        Error: 107, see :meth:`Data.json`.
    """
    if not data and kind is Any:
        return None
    try:
        validate = getattr(kind, "model_validate_json", None)
        if validate is not None:
            return validate(bytes(data))
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise Error(codes.BAD_REQUEST, detail=f"the payload does not fit: {error}") from None
    except RecursionError:
        raise Error(codes.BAD_REQUEST, detail="the payload is nested too deep") from None
    except msgspec.DecodeError as error:
        raise Error(codes.BAD_REQUEST, detail=f"the payload is no JSON: {error}") from None
    except ValueError as error:  # of Pydantic, in several lines
        detail = f"the payload does not fit: {pydantic_fault(error)}"
        raise Error(codes.BAD_REQUEST, detail=detail) from None


def pydantic_fault(error: ValueError) -> str:
    """The first fault that Pydantic names, in one line as msgspec writes it."""
    faults = getattr(error, "errors", None)
    if faults is None:
        return str(error)
    first = faults()[0]
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
    return f"{first['msg']} - at `${path}`"
