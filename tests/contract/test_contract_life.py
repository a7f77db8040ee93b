"""Start and end of every broker and presence manager, and control messages between nodes."""

import pytest
from contract_engines import Recorder
from waiting import until

from flyball.core.errors import ConfigError
from flyball.core.types import ClientInfo, PublishOptions, payload


async def test_a_broker_can_be_started_again(engine, events):
    broker = engine.broker()
    for n in (1, 2):
        await broker.start(events)
        await broker.subscribe("ch")
        await broker.publish("ch", payload(str(n).encode()), PublishOptions())
        await until(lambda n=n: len(events.data()) == n)
        await broker.close()
    assert (events.lost, events.restored) == ([], 0)
    assert broker.problem == ""


async def test_a_broker_may_be_open_to_publish_alone(engine, broker, events):
    publisher = engine.broker()
    for n in (1, 2):
        await publisher.open_to_publish()
        if engine.nodes_share:
            with pytest.raises(ConfigError, match="needs an engine of its own"):
                await publisher.open_to_publish()
        await publisher.publish("ch", payload(b"%d" % n), PublishOptions())
        await publisher.close()
        if engine.nodes_share:
            await until(lambda n=n: len(events.data()) == n)
    assert publisher.problem == ""
    if engine.nodes_share:
        with pytest.raises(ConfigError, match="at work already"):
            await broker.open_to_publish()
        assert events.data() == [b"1", b"2"]


@pytest.mark.needs("presence")
async def test_presence_can_be_started_again(engine):
    presence = engine.presence_manager()
    await presence.start()
    await presence.close()
    await presence.start()
    await presence.add_presence("ch", "c", ClientInfo("u", "c"))
    assert set(await presence.presence("ch")) == {"c"}
    await presence.close()


async def test_control_messages(engine):
    if not engine.nodes_share:
        pytest.skip("nodes of this engine do not know each other")
    names = ("one", "two")
    ends = {name: (engine.controller(), Recorder()) for name in names}
    for name, (controller, events) in ends.items():
        await controller.start(events, name)
    one, two = ends["one"], ends["two"]
    # With several servers each is used in turn: none must be left out.
    for n in range(4):
        await one[0].publish_control(b"all %d" % n)
        await one[0].publish_control(b"two %d" % n, "two")
    await until(lambda: len(two[1].control) == 8)
    await until(lambda: len(one[1].control) == 4)
    assert sorted(one[1].control) == [b"all %d" % n for n in range(4)]
    for controller, _ in ends.values():
        await controller.close()
        await controller.close()
