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


async def until(condition, what="what was waited for", *, news=None, over=None, meanwhile=None):
    """Waits until ``condition()`` holds.

    Args:
        condition: Looked at again and again.
        what: Named by the failure; a callable is asked only then.
        news: An event set whenever the condition may have changed; without it we look often.
        over: Whether nothing more can come, so that waiting on is of no use.
        meanwhile: Called after each look that found nothing.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                if over is not None and over():
                    raise TimeoutError
                if meanwhile is not None:
                    meanwhile()
                if news is None:
                    await asyncio.sleep(LOOK_EVERY)
                else:
                    news.clear()
                    await news.wait()
    except TimeoutError:
        raise AssertionError(f"no {what() if callable(what) else what}") from None


async def turns_until(condition, most=2000):
    """How many turns of the event loop pass until ``condition``."""
    passed = 0
    while not condition():
        await asyncio.sleep(0)
        passed += 1
        assert passed < most
    return passed


def wait_for(condition, what):
    """The same without a loop, for what another process does; it may be away meanwhile."""
    end = time.monotonic() + PATIENCE

    def holds():
        try:
            return condition()
        except ConnectionError:
            return False

    while not holds():
        assert time.monotonic() < end, f"no {what() if callable(what) else what}"
        time.sleep(LOOK_EVERY)


@contextlib.asynccontextmanager
async def time_flies(clock, step=0.05):
    """Moves a clock on, ``step`` seconds in each of many turns of the loop."""

    async def fly():
        while True:
            clock.advance(step)
            await asyncio.sleep(LOOK_EVERY / 2)

    task = asyncio.ensure_future(fly())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
