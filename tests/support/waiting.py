"""Waiting for what must happen: for the thing itself, never for a time.

The limit is long, because it costs nothing when the thing happens, and machines may be busy.
"""

import asyncio
import contextlib
import time

PATIENCE = 60.0
"""Seconds until something that must happen counts as missing."""
LOOK_EVERY = 0.002
"""Seconds between two looks at what gives no sign of its own."""


async def until(condition, what="what was waited for", *, news=None):
    """Waits until ``condition()`` holds.

    Args:
        condition: Looked at again and again.
        what: Named by the failure; a callable is asked only then.
        news: An event set whenever the condition may have changed; without it we look often.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                if news is None:
                    await asyncio.sleep(LOOK_EVERY)
                else:
                    news.clear()
                    await news.wait()
    except TimeoutError:
        raise AssertionError(f"no {what() if callable(what) else what}") from None


def wait_for(condition, what):
    """The same without a loop, for what another process does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"no {what() if callable(what) else what}"
        time.sleep(0.02)


@contextlib.asynccontextmanager
async def time_flies(clock, step=0.05):
    """Moves a clock on, ``step`` seconds in each of many turns of the loop."""

    async def fly():
        while True:
            clock.advance(step)
            await asyncio.sleep(0.001)

    task = asyncio.ensure_future(fly())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
