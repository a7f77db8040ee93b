"""What every presence manager knows."""

import pytest

from flyball.core.types import ClientInfo, payload

pytestmark = pytest.mark.needs("presence")


def info(user, client, **more):
    return ClientInfo(user=user, client=client, **more)


async def add(presence, *clients, channel="ch"):
    for client in clients:
        await presence.add_presence(channel, client, info(client[0], client))


async def stats(presence, channel="ch"):
    result = await presence.presence_stats(channel)
    return result.num_clients, result.num_users


async def test_nobody(presence):
    assert await presence.presence("ch") == {}
    assert await stats(presence) == (0, 0)
    await presence.remove_presence("ch", "c1", "u")


async def test_clients_with_their_info(presence):
    given = info("ann", "a1", conn_info=payload(b'{"n":1}'), chan_info=payload(b"[2]"))
    await presence.add_presence("ch", "a1", given)
    known = (await presence.presence("ch"))["a1"]
    assert (known.user, known.client) == ("ann", "a1")
    assert (bytes(known.conn_info), bytes(known.chan_info)) == (b'{"n":1}', b"[2]")


async def test_clients_and_users_are_counted(presence):
    await add(presence, "a1", "a2", "b1")
    await add(presence, "a1", channel="other")
    assert set(await presence.presence("ch")) == {"a1", "a2", "b1"}
    assert await stats(presence) == (3, 2)
    assert await stats(presence, "other") == (1, 1)


async def test_removal(presence):
    await add(presence, "a1", "a2")
    await presence.remove_presence("ch", "a1", "a")
    assert set(await presence.presence("ch")) == {"a2"}
    assert await stats(presence) == (1, 1)
    await presence.remove_presence("ch", "a2", "a")
    assert await stats(presence) == (0, 0)


async def test_adding_again_counts_once(presence):
    await add(presence, "a1", "a1")
    assert await stats(presence) == (1, 1)


async def test_adding_again_changes_the_info(presence):
    await presence.add_presence("ch", "a1", info("ann", "a1", chan_info=payload(b"1")))
    await presence.add_presence("ch", "a1", info("ann", "a1", chan_info=payload(b"2")))
    assert bytes((await presence.presence("ch"))["a1"].chan_info) == b"2"


async def test_entries_expire(engine):
    presence = engine.presence_manager(presence_ttl=2.0)
    await presence.start()
    await add(presence, "a1")
    await engine.pass_time(1)
    await add(presence, "b1")
    assert await stats(presence) == (2, 2)
    await engine.pass_time(1.5)
    assert set(await presence.presence("ch")) == {"b1"}
    assert await stats(presence) == (1, 1)
    await engine.pass_time(2)
    assert await presence.presence("ch") == {}
    await presence.close()


async def test_entries_are_prolonged(engine):
    presence = engine.presence_manager(presence_ttl=2.0)
    await presence.start()
    for _ in range(3):
        await add(presence, "a1")
        await engine.pass_time(1.5)
    assert await stats(presence) == (1, 1)
    await presence.close()


async def test_what_was_read_does_not_change(presence):
    await add(presence, "a1")
    before = await presence.presence("ch")
    await presence.remove_presence("ch", "a1", "a")
    assert set(before) == {"a1"}


async def test_closing_twice(presence):
    await presence.close()
    await presence.close()
