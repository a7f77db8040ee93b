"""What is remembered of channels, so that a publish need not ask for it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from flyball.engines.nats.jetstream.entries import new_epoch, read_entry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from flyball.engines.nats.jetstream.api import Stored
    from flyball.engines.nats.jetstream.entries import Entry
    from flyball.engines.nats.jetstream.wishes import Wish

MOST_CHANNELS: Final = 10_000
"""Channels whose last message is remembered."""


class Channel:
    """What is known of one channel, and what is to be written there."""

    __slots__ = (
        "entry",
        "known",
        "name",
        "next_epoch",
        "purged",
        "sequence",
        "subject",
        "task",
        "wishes",
    )

    def __init__(self, name: str, subject: bytes) -> None:
        self.name = name
        self.subject = subject
        self.known = False
        """Whether the next two are."""
        self.sequence = 0
        """Place of its last message; 0: there is none."""
        self.entry: Entry | None = None
        """Its last message."""
        self.next_epoch = new_epoch()
        """Of the stream that begins when there is none. It stays the same until that is seen: a first
        message that was stored and denied is known again by it."""
        self.purged = 0
        """Messages before this place are removed."""
        self.wishes: deque[Wish] = deque()
        self.task: asyncio.Task[None] | None = None

    def learn(self, sequence: int, entry: Entry | None) -> None:
        """The last message is this one."""
        self.known, self.sequence, self.entry = True, sequence, entry
        if entry is not None and entry.epoch == self.next_epoch:
            self.next_epoch = new_epoch()

    def see(self, stored: Stored | None) -> None:
        """The last message is this one, as it is stored."""
        if stored is None:
            self.learn(0, None)
        else:
            self.learn(stored.sequence, read_entry(stored.data))


class Channels:
    """Channels by name; those that were not asked for longest are dropped.

    Args:
        subject_of: under which subject a channel is stored.
    """

    def __init__(self, subject_of: Callable[[str], bytes]) -> None:
        self._subject_of = subject_of
        self._channels: OrderedDict[str, Channel] = OrderedDict()

    def __getitem__(self, name: str) -> Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, self._subject_of(name))
            self._drop_oldest()
        else:
            self._channels.move_to_end(name)
        return channel

    def _drop_oldest(self) -> None:
        while len(self._channels) > MOST_CHANNELS:
            oldest = next(iter(self._channels.values()))
            if oldest.task is not None:
                break
            del self._channels[oldest.name]

    def clear(self) -> None:
        """Drops all."""
        self._channels.clear()

    def forget(self) -> None:
        """Another server may answer now: nothing is known of their last messages."""
        for channel in self._channels.values():
            channel.known = False
