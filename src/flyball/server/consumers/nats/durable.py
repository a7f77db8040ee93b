"""The durable consumer at the server: made, changed, and made again where the last one ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flyball.engines.nats.jetstream.api import ApiError, JetStream
from flyball.engines.nats.link import NoRespondersError
from flyball.server.consumers.errors import SourceError

if TYPE_CHECKING:
    from flyball.engines.nats.link import NatsLink
    from flyball.server.consumers.nats.options import DurableOptions

SECOND: Final = 1_000_000_000
"""Durations are nanoseconds there."""
ACK_WAIT: Final = 30
"""Seconds in which a message is acknowledged or spoken of; then it is given out again."""
MOST: Final = 100
"""Messages that are asked for at once."""
LONGEST_WAIT: Final = 5.0
"""Seconds that one request for messages waits."""
MANY_SUBJECTS: Final = (2, 10)
"""The first version of the server that reads some subjects of a stream."""
_NO_CONSUMER: Final = 10014
_NO_STREAM: Final = 10059
_SWITCHED_OFF: Final = (10039, 10076)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the consumer lets us do."""

    ack_wait: float = ACK_WAIT
    """Seconds that a message is ours without a word from us."""
    batch: int = MOST
    """Messages of one request at most."""
    wait: float = LONGEST_WAIT
    """Seconds of one request at most."""


class Durable:
    """A consumer of a stream, and how far it has come.

    Args:
        link: to the servers.
        options: which consumer.
    """

    def __init__(self, link: NatsLink, options: DurableOptions) -> None:
        self._link = link
        self._api = JetStream(link, (), leader=False)
        self._options = options
        self._path = f"{options.stream}.{options.durable}"
        self._floor: int | None = None
        """All messages up to there are done, by whomever."""
        self._last = 0
        """The last that we have done."""
        self._others = False
        """Other nodes have messages too."""
        self.in_hand: set[int] = set()
        """Messages that we have, and that are not done."""

    # -- how far it has come

    def done(self, sequence: int) -> None:
        """We have done a message."""
        self._last = max(self._last, sequence)
        self.in_hand.discard(sequence)

    async def look(self) -> None:
        """Learns what others have done; to be called while we have nothing in hand."""
        info = await self._info()
        if info is None:
            raise SourceError("the consumer was removed; it is made again")
        self._learn(info)

    def _learn(self, info: dict[str, Any]) -> None:
        self._floor = int(info["ack_floor"]["stream_seq"])
        self._others = info["num_ack_pending"] > 0
        if not self._others:
            self.in_hand.clear()

    def _next(self) -> int:
        """The first message that may not be done."""
        floor = self._floor or 0
        last = floor if self._others else max(self._last, floor)
        return min((*self.in_hand, last + 1))

    # -- the consumer

    async def ensure(self) -> Terms:
        """Sees to it that it is there, and as it should be.

        Raises:
            SourceError: it cannot be had; the message says what to do.
            FlyballError: the server does not answer.
        """
        try:
            info = await self._ensured()
        except ApiError as error:
            raise self._explained(error) from None
        except NoRespondersError:
            raise SourceError("JetStream is not switched on at the server, or not ready") from None
        self._learn(info)
        return _terms(info["config"], self._options.durable)

    async def _ensured(self) -> dict[str, Any]:
        options = self._options
        info = await self._info()
        if options.use_existing:
            if info is None:
                raise SourceError(
                    f"stream {options.stream!r} has no consumer {options.durable!r}; make it, or"
                    " leave use_existing_consumer out"
                )
            return info
        self._check_subjects()
        if info is None:
            return await self._put(self._wanted() | await self._start())
        config = info["config"]
        if _filters(config) == set(options.subjects) and self._wanted().items() <= config.items():
            return info
        others = {k: v for k, v in config.items() if k not in ("filter_subject", "filter_subjects")}
        return await self._put(others | self._wanted())

    async def _info(self) -> dict[str, Any] | None:
        try:
            return await self._api.call(f"CONSUMER.INFO.{self._path}", {})
        except ApiError as error:
            if error.code == _NO_CONSUMER:
                return None
            raise

    async def _put(self, config: dict[str, Any]) -> dict[str, Any]:
        request = {"stream_name": self._options.stream, "config": config}
        return await self._api.call(f"CONSUMER.DURABLE.CREATE.{self._path}", request)

    def _wanted(self) -> dict[str, Any]:
        options = self._options
        wanted: dict[str, Any] = {
            "durable_name": options.durable,
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT * SECOND,
        }
        if options.max_ack_pending:
            wanted["max_ack_pending"] = options.max_ack_pending
        if len(options.subjects) == 1:
            wanted["filter_subject"] = options.subjects[0]
        elif options.subjects:
            wanted["filter_subjects"] = list(options.subjects)
        return wanted

    async def _start(self) -> dict[str, Any]:
        """Where a consumer begins that is made now."""
        if self._floor is None:
            return {"deliver_policy": "all" if self._options.deliver_all else "new"}
        stream = await self._api.call(f"STREAM.INFO.{self._options.stream}", {})
        if stream["state"]["last_seq"] < max(self._last, self._floor):
            return {"deliver_policy": "all"}  # it is another stream: all in it is new
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._next()}

    def _check_subjects(self) -> None:
        version = str(self._link.info.get("version", ""))
        numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
        if len(self._options.subjects) > 1 and numbers < MANY_SUBJECTS:
            raise SourceError(
                f"subjects has {len(self._options.subjects)} entries, which needs NATS 2.10 or"
                f" newer; the server is {version!r}: name one subject, with wildcards perhaps"
            )

    def _explained(self, error: ApiError) -> SourceError:
        if error.code == _NO_STREAM:
            return SourceError(f"there is no stream {self._options.stream!r}; make it")
        if error.code in _SWITCHED_OFF:
            return SourceError(f"JetStream is not switched on at the server: {error}")
        return SourceError(f"consumer {self._options.durable!r}: {error}")


def _filters(config: dict[str, Any]) -> set[str]:
    one = config.get("filter_subject")
    return {one} if one else set(config.get("filter_subjects") or ())


def _terms(config: dict[str, Any], name: str) -> Terms:
    """What a consumer lets us do.

    Raises:
        SourceError: it is of a kind that nothing can be read by.
    """
    if config.get("deliver_subject"):
        raise SourceError(f"consumer {name!r} pushes messages; a pull consumer is needed")
    if config.get("ack_policy") not in ("explicit", "all"):
        raise SourceError(
            f"consumer {name!r} wants no acknowledgement (ack_policy), so that messages would be"
            " lost; explicit is needed"
        )
    waits = [config.get("ack_wait") or ACK_WAIT * SECOND, *(config.get("backoff") or ())]
    limits = [config.get("max_ack_pending") or 0, config.get("max_batch") or 0]
    longest = (config.get("max_expires") or 0) / SECOND
    return Terms(
        ack_wait=min(waits) / SECOND,
        batch=min([MOST, *(limit for limit in limits if limit > 0)]),
        wait=min(LONGEST_WAIT, longest) if longest else LONGEST_WAIT,
    )
