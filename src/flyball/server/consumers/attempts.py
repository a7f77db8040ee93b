"""A bounded number of attempts, of sources that deliver again what is left with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.server.consumers.errors import DroppedError, TryAgainError
from flyball.server.consumers.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.server.consumers.base import Message
    from flyball.server.consumers.workers import Worker


async def attempt(
    worker: Worker, message: Message, times: int, ours: Callable[[], bool] = lambda: True
) -> None:
    """Has a message done, in ``times`` attempts at most, with longer and longer waits between them.

    Args:
        worker: does it.
        message: to be done.
        times: attempts.
        ours: whether nobody else may have the message by now; asked before each further attempt.

    Raises:
        TryAgainError: of the last attempt; the message stays with its source.
        StoppedError: the consumer stops, and the message is not done.
    """
    for _ in range(times - 1):
        try:
            await worker.do(message)
        except TryAgainError as error:
            worker.failed(error)
        else:
            return
        await worker.back_off()
        if not ours():  # whoever has it may have done it by now, and what follows it
            raise TryAgainError("its time is over: the source may have given it to somebody else")
    await worker.do(message)


class OnceEach:
    """Has messages of one queue done that may be delivered again although they were: each once.

    Args:
        times: attempts that a message has each time that it is delivered.
    """

    def __init__(self, times: int) -> None:
        self._times = times
        self._recent = Recent()

    async def do(
        self,
        worker: Worker,
        identity: object,
        unread: Message,
        read: Callable[[], Message],
        ours: Callable[[], bool],
    ) -> None:
        """Returns when the queue need not keep the message: it was done, now or lately, or cannot be.

        Args:
            worker: does it.
            identity: what no other message of the queue has.
            unread: what the log is told of if it cannot be read.
            read: makes what is to be done of it; :class:`DroppedError` if that cannot be.
            ours: see :func:`attempt`.

        Raises:
            TryAgainError: of the last attempt.
            StoppedError: the consumer stops, and the message is not done.
        """
        if identity in self._recent:
            return
        try:
            message = read()
        except DroppedError as error:
            worker.drop(unread, str(error))
        else:
            await attempt(worker, message, self._times, ours)
        self._recent.add(identity)
