"""What holds for every test: nothing of ours blocks an event loop, nothing outlives its test."""

import asyncio.runners
import threading
from pathlib import Path

import coverage
import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

# How long an example takes says more of the machine than of us.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

SOURCES = (str(Path(__file__).parent), str(Path(__file__).parents[1] / "src"))
"""Where a task must come from to be one of ours: published clients leave some behind."""

MAY_BLOCK = (
    # The configuration is read at start and when an operator asks for it.
    ("flyball/server/config/sources.py", {"read_file"}),
    # ssl takes certificates from files only: those from memory go through one of our own.
    ("flyball/server/common/tls.py", {"_load_pair"}),
    ("flyball/server/acme/certificate.py", {"load_pair"}),
    # Credentials are read when the server is made, to refuse what cannot be used.
    ("flyball/server/build/nats_consumer.py", {"_servers"}),
    ("flyball/server/build/engine.py", {"_nats_servers"}),
    # The page's files are read once, when the server is made.
    ("flyball/server/admin/files.py", {"read_files"}),
    # A schema is read at start and at a reload, its package's own files with it.
    ("flyball/server/channels/publication_schema.py", {"read_schema"}),
    # The database driver looks for the user's certificates whenever it connects.
    ("asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args"}),
    # The package's own files, once at start.
    ("flyball/engines/postgres/schema.py", {"sql"}),
    # The cache of certificates is used on a thread, or for a challenge of some bytes.
    (
        "flyball/server/acme/cache.py",
        {"__init__", "get", "put", "delete", "exclusively"},
    ),
    # Numbers of the process are read from /proc, which waits for no disk.
    ("prometheus_client/process_collector.py", {"collect"}),
    # AWS's own settings are read at start.
    ("flyball/server/consumers/kafka/msk.py", {"__init__"}),
    # asynctnt looks whether the path of a socket is there.
    ("asynctnt/connection.py", {"full_connect"}),
    ("flyball/server/admin/stats.py", {"memory"}),
    # AWS's client reads its models and the user's profile when it is made.
    ("aiobotocore/session.py", {"_create_client"}),
    ("flyball/server/consumers/sqs/client.py", {"_region"}),
    # The key of a service account is read at start.
    ("flyball/server/consumers/pubsub/client.py", {"_key"}),
    # Google's client looks whether the machine has a certificate for it.
    ("google/pubsub_v1/services/subscriber/client.py", {"__init__"}),
    # A traceback is written with its lines.
    ("linecache.py", {"checkcache", "updatecache"}),
    ("rich/traceback.py", {"_render_stack"}),
)
"""Where calls of ours may block: file, functions."""
LOCK = "threading.Lock.acquire"
"""Is no concern of the guard: libraries take theirs for moments."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Tests that try every case there is say nothing new of which lines run, and cost twice then."""
    running = coverage.Coverage.current() if item.get_closest_marker("exhaustive") else None
    if running is None:
        return (yield)
    running.stop()
    try:
        return (yield)
    finally:
        running.start()


@pytest.fixture(scope="session", autouse=True)
def nothing_blocks():
    """A call of ours that blocks a running event loop raises."""
    guard = BlockBuster("flyball", excluded_modules=["flyball.testing"])
    del guard.functions[LOCK]
    for function in guard.functions.values():
        for file, names in MAY_BLOCK:
            function.can_block_in(file, names)
    guard.activate()
    yield
    guard.deactivate()


@pytest.fixture(scope="session", autouse=True)
def no_task_outlives_its_loop():
    """An event loop that ends with tasks of ours in it fails the test."""
    cancel = asyncio.runners._cancel_all_tasks

    def cancel_and_tell(loop):
        left = [task for task in asyncio.all_tasks(loop) if is_ours(task)]
        cancel(loop)
        assert not left, f"tasks outlived the test: {left}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.runners, "_cancel_all_tasks", cancel_and_tell)
        yield


def is_ours(task):
    """Whether a task runs a coroutine of ours."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(SOURCES)


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test():
    """A thread that would hold up the end of a program, and was not there before, fails the test."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and not t.daemon]
    assert not left, f"threads outlived the test: {left}"
