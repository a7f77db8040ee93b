"""The suite of a plain asyncio program: the chat example, in memory."""

import pytest
from examples import chat

import flyball
from flyball.testing import TestClient


@pytest.fixture
async def enter():
    """Makes clients in a room."""
    async with chat.node as node:

        async def client(name, room="chat:1"):
            entered = TestClient(node)
            await entered.connect(name)
            await entered.subscribe(room)
            return entered

        yield client


async def test_a_line_reaches_everybody(enter):
    ann, bob = await enter("ann"), await enter("bob")
    await ann.publish("chat:1", {"text": "hello"})
    (line,) = bob.take_publications()
    assert (line.json(), line.info.user) == ({"text": "hello"}, "ann")


async def test_who_is_there(enter):
    ann, _ = await enter("ann"), await enter("bob")
    assert {i.user for i in (await ann.presence("chat:1")).values()} == {"ann", "bob"}
    outside = await enter("eve", "chat:2")
    for question in (outside.presence("chat:1"), outside.history("chat:1")):
        with pytest.raises(flyball.Error, match="103"):
            await question


async def test_staff_only(enter):
    with pytest.raises(flyball.Error, match="103"):
        await enter("ann", "chat:staff")
    await enter("staff-ann", "chat:staff")


async def test_guests_are_sent_away():
    async with chat.node as node:
        with pytest.raises(flyball.Disconnect, match="4501 a name is needed"):
            await TestClient(node).connect()


async def test_votes(enter):
    ann = await enter("ann", "chat:votes")
    before = chat.votes.get("tea", 0)
    assert (await ann.rpc("vote", {"option": "tea"})).json() == {"votes": before + 1}
    assert ann.take_publications()[0].json()["tea"] == before + 1
