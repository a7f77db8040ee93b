"""The auditor finds what it is there to find, and takes what is allowed for what it is."""

import json

import pytest
from fault_world import KEY
from ports import accepts, free_port
from processes import FLYBALL, Program
from waiting import wait_for

from flyball.cli.audit import LATE, Follower, Sent


def sent(count, *, acknowledged=True):
    """Publications 1 to ``count``, each published a second after the one before."""
    return {n: Sent(n, float(n), n, "e", acknowledged) for n in range(1, count + 1)}


def follower(*seen, losses=()):
    """Somebody who saw these numbers, and was told of losses: after how many of them, and when."""
    found = Follower("ch", "here")
    found.log = [(n, float(n)) for n in seen]
    for place, at in sorted(losses, reverse=True):
        found.log.insert(place, (0, at))
    return found


def push(offset, number):
    return {"offset": offset, "data": {"n": number}}


def test_all_is_well():
    assert list(follower(1, 2, 3).check(sent(3))) == []


def test_a_gap_in_silence():
    (found,) = follower(1, 3).check(sent(3))
    assert found == "here ch: 1 acknowledged publications are missing in silence: [2]"
    (found,) = follower(1, 2).check(sent(3))  # at the end too
    assert "[3]" in found


def test_a_gap_that_was_told():
    assert list(follower(1, 4, losses=[(1, 3.5)]).check(sent(4))) == []


def test_a_gap_that_was_told_soon_after():
    assert list(follower(1, 4, losses=[(2, 4.5)]).check(sent(4))) == []
    (found,) = follower(1, 4, losses=[(2, 4.1 + LATE)]).check(sent(4))
    assert "[2, 3]" in found


def test_a_loss_does_not_cover_what_was_published_after_it():
    (found,) = follower(1, 4, losses=[(1, 2.5)]).check(sent(4))
    assert "[3]" in found


def test_a_loss_does_not_cover_what_came_before_its_neighbours():
    (found,) = follower(1, 3, 4, losses=[(3, 9.0)]).check(sent(4))
    assert "[2]" in found


def test_what_was_not_acknowledged_may_be_missing():
    publications = sent(3)
    publications[2] = Sent(2, 2.0)
    assert list(follower(1, 3).check(publications)) == []
    assert list(follower(1, 2, 3).check(publications)) == []  # and may come


def test_twice_and_out_of_order():
    (found,) = follower(1, 2, 2, 3).check(sent(3))
    assert found == "here ch: 1 publications came twice"
    (found,) = follower(1, 3, 2).check(sent(3))
    assert found == "here ch: publications came out of order"


def test_offsets_follow_each_other():
    found = Follower("ch", "here")
    found.subscribed({"offset": 4, "epoch": "e"})
    found.take(push(5, 1))
    assert found.violations == []
    found.take(push(7, 2))
    assert found.violations == ["here ch: offset 7 came after 5 (epoch e)"]


def test_a_recovery_stays_in_its_epoch():
    found = Follower("ch", "here")
    found.subscribed({"offset": 0, "epoch": "e"})
    missed = [push(1, 1), push(2, 2)]
    found.subscribed({"offset": 2, "epoch": "e", "recovered": True, "publications": missed})
    assert (found.recovered, found.losses, found.violations) == (1, 0, [])
    found.subscribed({"offset": 9, "epoch": "f"})
    assert (found.recovered, found.losses, found.violations) == (1, 1, [])
    found.subscribed({"offset": 9, "epoch": "g", "recovered": True})
    assert found.violations == ["here ch: recovered from epoch f into g"]


@pytest.fixture
def port(tmp_path):
    channel = {"history_size": 1000, "history_ttl": "60s", "force_recovery": True}
    channel |= {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}
    config = {
        "client": {"allow_anonymous_connect_without_token": True, "allowed_origins": []},
        "http_api": {"key": KEY},
        "channel": {
            "namespaces": [
                {"name": "audit", **channel},
                {"name": "plain", **{k: v for k, v in channel.items() if k.startswith("allow")}},
            ]
        },
    }
    file, port = tmp_path / "config.json", free_port()
    file.write_text(json.dumps(config))
    with Program(str(FLYBALL), "-c", str(file), "--http_server.port", str(port)) as server:
        wait_for(lambda: accepts(port), "server")
        yield port
        assert server.stop() == 0


def audit(port, *more):
    """Exit code and output of the command."""
    where = ("--websocket", f"ws://127.0.0.1:{port}/connection/websocket")
    where += ("--api", f"http://127.0.0.1:{port}/api/", "--api-key", KEY)
    with Program(str(FLYBALL), "audit", *where, "--seconds", "0.5", *more) as command:
        return command.end(), command.output


def test_the_command(port):
    code, output = audit(port, "--channel", "audit:1", "--channel", "audit:2")
    assert code == 0, output
    *_, numbers, verdict = output.splitlines()
    assert verdict == "passed"
    published = int(numbers.split()[1].rstrip(","))
    assert published > 0
    assert f"delivered {published}," in numbers


@pytest.mark.parametrize(
    ("channel", "obstacle"),
    [
        ("other:1", "subscribing is refused: 102 unknown channel"),
        ("plain:1", "the channel has no recovery"),
    ],
)
def test_a_channel_that_cannot_be_audited(port, channel, obstacle):
    code, output = audit(port, "--channel", channel, "--start", "3")
    assert code == 1
    where = f"ws://127.0.0.1:{port}/connection/websocket {channel}"
    assert output == f"error: {where}: {obstacle}\n"


def test_a_server_that_is_not_there():
    code, output = audit(free_port(), "--start", "0.2")
    assert code == 1
    assert output.startswith("error: ws://127.0.0.1:")
    assert output.endswith("audit:1: there is no connection\n")
