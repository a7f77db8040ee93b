"""Commands that wait: behind one that is being handled, or for the next turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flyball.core.transport import Transport

MAX_COMMANDS_IN_FRAME = 4096
"""Commands that one frame may hold."""
MAX_PENDING_FRAMES = 4096
"""Frames that may wait behind a command that is being handled."""
MAX_PENDING_SIZE = 4 * 1024 * 1024
"""Bytes of them, the first not counted. Transports that cannot pause would bring any number."""
COMMANDS_A_TURN = 64
"""Commands of one connection that are begun before the others have their turn, whatever number of
frames they come in."""
WAITS = -1
"""Where the next command begins, if this one has to wait."""


class CommandTaker(Protocol):
    """What a session does with what waits."""

    transport: Transport

    @property
    def listens(self) -> bool:
        """Commands are taken."""

    @property
    def is_free(self) -> bool:
        """The next command may begin now."""

    def carry_out(self, frame: bytes, position: int) -> int:
        """Begins the command at ``position``; where the next one begins.

        :data:`WAITS` if the command has to wait, and the end of the frame if the session has ended.
        """

    def overrun(self, detail: str) -> None:
        """More waits than may: the session ends."""

    def emptied(self) -> None:
        """A turn has come with nothing that waits: the inbox is done."""


class Inbox:
    """Frames that a session could not work off at once; made when there is something to keep.

    They are kept as they came and are decoded command by command: what is never carried out costs
    nothing but its bytes. An inbox lives to the turn after it was emptied, so that the frames of
    one turn have one share of commands together.
    """

    __slots__ = (
        "_commands",
        "_frames",
        "_left",
        "_position",
        "_reading",
        "_scheduled",
        "_size",
        "_taker",
        "_working",
    )

    def __init__(self, taker: CommandTaker, frame: bytes, position: int) -> None:
        self._taker = taker
        self._frames = deque((frame,))
        self._position = position  # in the first of them
        self._commands = 1 if position else 0  # of the first one that were carried out
        self._left = COMMANDS_A_TURN - self._commands
        self._size = 0  # bytes of the others
        self._working = False
        self._scheduled = False
        self._reading = True

    def add(self, frame: bytes) -> None:
        """Takes another frame, which waits if others do."""
        frames = self._frames
        if not self._taker.listens:
            return
        if not frames:
            frames.append(frame)
            self.work()
            return
        self._size += len(frame)
        if len(frames) >= MAX_PENDING_FRAMES or self._size > MAX_PENDING_SIZE:
            self._taker.overrun("too many commands waiting")
        else:
            frames.append(frame)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size + len(self._frames[0]) if self._frames else 0

    def resume(self) -> None:
        """Goes on, as a command has ended or another turn has come."""
        if self._working:
            return  # the loop below runs already, further up the stack
        transport = self._taker.transport
        transport.cork()
        self.work()
        transport.uncork()

    def work(self) -> None:
        """Carries out what need not wait, but no more than one turn's share.

        While something waits nothing more is read, where the transport can.
        """
        taker, frames = self._taker, self._frames
        self._working = True
        while frames and self._left and taker.is_free and self._take_next():
            self._left -= 1
        self._working = False
        if not taker.listens:
            frames.clear()  # a refused client may linger for some seconds
            return
        if self._left < COMMANDS_A_TURN and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        if self._reading and frames:
            self._reading = False
            taker.transport.pause_reading()
        elif not self._reading and not frames:
            self._reading = True
            taker.transport.resume_reading()

    def _take_next(self) -> bool:
        """Carries out the next command; False if it has to wait."""
        frame = self._frames[0]
        after = self._taker.carry_out(frame, self._position)
        if after == WAITS:
            return False
        self._position = after
        self._commands += 1
        if after >= len(frame):
            self._begin_next_frame()
        elif self._commands >= MAX_COMMANDS_IN_FRAME:
            self._taker.overrun(f"more than {MAX_COMMANDS_IN_FRAME} commands in a frame")
        return True

    def _begin_next_frame(self) -> None:
        self._frames.popleft()
        self._position = self._commands = 0
        if self._frames:
            self._size -= len(self._frames[0])

    def _next_turn(self) -> None:
        self._scheduled = False
        self._left = COMMANDS_A_TURN
        if self._frames:
            self.resume()
        else:
            self._taker.emptied()
