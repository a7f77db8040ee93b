"""What a worker knows of its place."""

from collections import Counter
from pathlib import Path

from flyball.server.common.worker_place import WorkerPlace, worker_place

PLACE = WorkerPlace(2, 3, "/run/w", b"key", 7)


def test_it_goes_through_the_environment():
    assert worker_place({"HOME": "/", **PLACE.to_environ()}) == PLACE
    assert worker_place({"FLYBALL_WORKER": ""}) is None
    assert worker_place({}) is None


def test_sockets():
    assert PLACE.socket == Path("/run/w/2.sock")
    assert PLACE.others == [1, 3]
    assert PLACE.socket_of(3) == Path("/run/w/3.sock")


def test_all_workers_find_the_same_keeper():
    others = [WorkerPlace(n, 3, "/run/w", b"key") for n in (1, 2, 3)]
    names = [f"session-{n}" for n in range(3000)] + ["", "ä\udc80"]
    keepers = [PLACE.keeper_of(name) for name in names]
    for other in others:
        assert [other.keeper_of(name) for name in names] == keepers
    counts = Counter(keepers)
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > 800  # spread evenly
    strange = WorkerPlace(1, 3, "/run/w", b"another key")
    assert [strange.keeper_of(name) for name in names] != keepers
