"""What a node counts: the same as the original after the same work (docs/metrics.md)."""

import pytest
from core_harness import Wire

from flyball.core.metrics import COMMANDS, MESSAGE_TYPES, Metrics


def counted(metrics, name):
    return {key: number for key, number in getattr(metrics, name).items() if number}


def test_series_with_known_labels_are_there_from_the_start():
    metrics = Metrics()
    assert metrics.messages_sent == dict.fromkeys(MESSAGE_TYPES, 0)
    assert metrics.messages_received == dict.fromkeys(MESSAGE_TYPES, 0)
    assert {m: h.count for m, h in metrics.command_duration.items()} == dict.fromkeys(COMMANDS, 0)


async def test_every_command_of_the_table_has_a_series(wire, node):
    known = {name for name, _ in wire.session._owner.commands}
    assert known | {"unknown"} == set(COMMANDS)


class TestReceived:
    @pytest.mark.parametrize(
        ("frame", "kind"),
        [
            ('{"id":7}', "unknown"),
            ('{"id":7,"nope":{}}', "unknown"),
            ('{"id":1,"ping":{}}', "unknown"),
            ("{}", "client_pong"),
            ('{"id":2,"connect":{}}', "connect"),
        ],
    )
    async def test_what_ends_the_connection_is_counted_as_what_it_is(self, node, wire, frame, kind):
        metrics = node.metrics
        before = metrics.transport_received["test", kind]
        size = metrics.transport_received_size["test", kind]
        wire.raw(frame)
        assert wire.closed_by == 3501
        assert metrics.transport_received["test", kind] == before + 1
        assert metrics.transport_received_size["test", kind] == size + len(frame)
        assert metrics.command_duration["unknown"].count == 0

    @pytest.mark.parametrize("frame", ["{}", '{"id":7}', '{"id":1,"rpc":{}}', "not json"])
    async def test_nothing_counts_before_connect(self, node, frame):
        wire = Wire(node)
        wire.raw(frame)
        assert wire.closed_by == 3501
        assert not node.metrics.transport_received

    async def test_a_second_connect_is_a_command(self, node, wire):
        wire.ask(connect={})
        assert node.metrics.command_duration["connect"].count == 2

    async def test_the_request_of_a_unidirectional_connection_is_none(self, node):
        from core_harness import UNI

        from flyball.protocol.messages import ConnectRequest

        wire = Wire(node, framing=UNI)
        wire.session.connect_unidirectional(ConnectRequest())
        assert "connect" in wire.take()[0]
        assert not node.metrics.transport_received
        assert node.metrics.command_duration["connect"].count == 0

    async def test_a_pong(self, node, wire, clock):
        wire.await_ping(clock)
        wire.raw("{}")
        assert wire.closed_by is None
        assert node.metrics.transport_received["test", "client_pong"] == 1
        assert node.metrics.transport_sent["test", "server_ping"] == 1


class TestSent:
    async def test_sizes_are_those_of_the_messages(self, node, wire):
        wire.subscribe("plain:a")
        await node.publish("plain:a", 1)
        text = '{"push":{"channel":"plain:a","pub":{"data":1}}}'
        assert node.metrics.transport_sent_size["test", "push_publication"] == len(text)

    async def test_each_form_has_its_own_size(self, node, wire):
        wire.subscribe("rec:a", delta="fossil")
        plain = Wire(node)
        plain.connect()
        plain.subscribe("rec:a")
        data = {"text": "x" * 500}
        await node.publish("rec:a", data, history_size=9, history_ttl=60, delta=True)
        wire.take(), plain.take()
        key = ("test", "push_publication")
        before = node.metrics.transport_sent_size[key]
        await node.publish("rec:a", data, history_size=9, history_ttl=60, delta=True)
        (patch,), (full,) = wire.written, plain.written
        assert len(patch) < len(full)
        assert node.metrics.transport_sent[key] == 4
        assert node.metrics.transport_sent_size[key] - before == len(patch) + len(full) - 2

    async def test_joins_and_leaves(self, node, wire):
        wire.subscribe("pres:a")
        wire.ask(unsubscribe={"channel": "pres:a"})
        metrics = node.metrics
        assert (metrics.messages_sent["join"], metrics.messages_received["join"]) == (1, 1)
        assert (metrics.messages_sent["leave"], metrics.messages_received["leave"]) == (1, 1)
        assert metrics.transport_sent["test", "push_join"] == 1

    async def test_closes_by_the_server_where_they_have_a_code(self, node):
        for has_codes, user in ((True, "a"), (False, "b")):
            wire = Wire(node)
            wire.has_close_codes = has_codes
            wire.connect(token=user)
            await node.disconnect_user(user)
        gone = Wire(node)
        gone.has_close_codes = True
        gone.session.connection_lost()
        assert node.metrics.transport_closes == {("test", 3503): 1}
        assert node.metrics.server_disconnects == {3503: 2}


class TestActions:
    async def test_a_subscription_with_recovery(self, node, wire, clock):
        epoch = wire.subscribe("rec:a")["epoch"]
        assert counted(node.metrics, "actions") == {
            "add_client": 1,
            "add_subscription": 1,
            "broker_subscribe": 1,
            "history": 1,
            "history_stream_top": 1,
        }
        wire.ask(unsubscribe={"channel": "rec:a"})
        wire.subscribe("rec:a", recover=True, offset=0, epoch=epoch)
        wire.subscribe("cache:a", recover=True)
        actions = node.metrics.actions
        assert actions["broker_unsubscribe"] == 1
        assert actions["broker_subscribe"] == 3
        assert (actions["history_recover"], actions["history_recover_cache"]) == (1, 1)
        assert actions["history"] == 3

    async def test_recoveries_that_bring_nothing_are_no_observations(self, node, wire):
        wire.subscribe("rec:a", recover=True, offset=5, epoch="other")
        assert node.metrics.recovers == {(False, False): 1}
        assert node.metrics.recovered_publications.count == 0
        wire.ask(unsubscribe={"channel": "rec:a"})
        epoch = wire.subscribe("rec:a")["epoch"]
        wire.ask(unsubscribe={"channel": "rec:a"})
        wire.subscribe("rec:a", recover=True, offset=0, epoch=epoch)
        assert node.metrics.recovered_publications.count == 1

    async def test_presence_goes_as_it_came(self, node, wire):
        wire.subscribe("pres:a")
        wire.ask(unsubscribe={"channel": "pres:a"})
        assert node.metrics.actions["add_presence"] == 1
        assert node.metrics.actions["remove_presence"] == 1

    async def test_a_check_of_a_position_reads_its_top(self, node, wire, clock):
        wire.subscribe("rec:a")
        for _ in range(600):
            clock.advance(0.1)
            if {} in wire.take():
                wire.raw("{}")
        assert node.metrics.actions["history_stream_top"] > 1

    async def test_an_unsubscribe_of_what_is_not_there_is_told_and_counted(self, node, wire):
        await node.unsubscribe_user("u1", "plain:never")
        assert wire.take()[0]["push"]["unsubscribe"]["code"] == 2000
        assert node.metrics.server_unsubscribes == {2000: 1}

    async def test_surveys_of_one_node_too(self, node):
        await node.channels()
        assert node.metrics.actions["survey"] == 1
        assert node.metrics.survey_duration["channels"].count == 1

    async def test_the_age_of_publications(self, node, wire):
        wire.subscribe("plain:a")
        await node.publish("plain:a", 1)
        await node.publish("plain:b", 1)  # nobody is there
        assert node.metrics.pub_sub_lag.count == 1


@pytest.mark.parametrize(
    ("request_", "name", "version"),
    [
        ({}, "unnamed", "unversioned"),
        ({"name": "js", "version": "1"}, "unregistered", "unregistered"),
    ],
)
async def test_strangers_name_no_series(node, request_, name, version):
    wire = Wire(node)
    wire.connect(**request_)
    wire.subscribe("plain:a")
    metrics = node.metrics
    assert metrics.connections_accepted == {("test", name, version): 1}
    assert metrics.connections_inflight == {("test", name, version): 1}
    assert metrics.subscriptions_accepted == {name: 1}
    assert metrics.subscriptions_inflight == {name: 1}
