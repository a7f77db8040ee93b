"""Backends that are down, slow, or answer what cannot be read; and how much one is asked."""

import asyncio
import contextlib
import socket

import grpc
import pytest
import structlog
from proxy_world import GrpcBackend, HttpBackend, world
from structlog.testing import capture_logs
from waiting import until

from flyball.core.errors import ConfigError
from flyball.server.app import Server
from flyball.server.common.outages import Outages
from flyball.server.common.tls import TLSConfig
from flyball.server.config import Config
from flyball.server.config.schema_common import ProxyGRPC, SwitchableProxy
from flyball.server.proxies.admission import Admission
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.http import MAX_ANSWER_SIZE

FAILED = 100


async def ask(world, method="m"):
    """What a new client is told that calls a method."""
    client = await world.client()
    await client.connect()
    return await client.call("rpc", method=method)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((201, {"result": {"data": 1}}), "status 201, not 200"),
        ((302, ""), "status 302, not 200"),
        ((503, "down"), "status 503, not 200"),
        ("<html>", "the answer is malformed"),
        ('{"result": {"data": 1}', "the answer is malformed"),
        ('{"result": 5}', "the answer is malformed"),
        (b'{"result": {"data": "\xff"}}', "the answer is malformed"),
        ("", "the answer is malformed"),
        ("[" * 100_000, "the answer is malformed"),
        (b"0" * (MAX_ANSWER_SIZE + 1), "is longer than"),
    ],
)
async def test_answers_that_are_none(tmp_path, answer, reason):
    backend = HttpBackend()
    backend.answers["rpc"] = answer
    with capture_logs() as lines:
        async with world(tmp_path, backend, "rpc") as w:
            assert (await ask(w))["code"] == FAILED
    (line,) = [line for line in lines if line["event"] == "backend gives no answer"]
    assert reason in line["reason"]
    assert (line["proxy"], line["type"]) == ("rpc.proxy", "rpc")


@pytest.mark.parametrize("make", [HttpBackend, GrpcBackend])
async def test_a_slow_backend(tmp_path, make):
    backend, released = make(), asyncio.Event()

    async def wait(_message):
        await released.wait()
        return {}

    backend.answers["rpc"] = wait
    async with world(tmp_path, backend, "rpc", timeout="50ms") as w:
        assert (await ask(w))["code"] == FAILED
        released.set()


async def test_a_grpc_backend_that_compresses(tmp_path):
    backend = GrpcBackend()
    backend.compression = grpc.Compression.Gzip
    async with world(tmp_path, backend, "rpc") as w:
        backend.answers["rpc"] = {"result": {"data": "a" * 9000}}
        assert await ask(w) == {"data": "a" * 9000}
        backend.answers["rpc"] = {"result": {"data": "a" * (MAX_ANSWER_SIZE + 1)}}
        with capture_logs() as lines:  # the bound is on what it becomes, not on what comes
            assert (await ask(w))["code"] == FAILED
    (line,) = [line for line in lines if line["event"] == "backend gives no answer"]
    assert "RESOURCE_EXHAUSTED" in line["reason"]


@pytest.mark.parametrize("make", [HttpBackend, GrpcBackend])
async def test_a_backend_that_is_down_and_comes_back(tmp_path, make):
    backend = make()
    backend.answers["rpc"] = {"result": {"data": 1}}
    with capture_logs() as lines:
        async with world(tmp_path, backend, "rpc") as w:
            assert await ask(w) == {"data": 1}
            await backend.stop()
            for _ in range(20):
                assert (await ask(w))["code"] == FAILED
            await backend.start(backend.port)
            answers = [await ask(w)]
            while answers[-1] != {"data": 1}:  # GRPC takes its time to connect again
                answers.append(await ask(w))
    assert len([line for line in lines if line["event"] == "backend gives no answer"]) == 1


async def test_a_backend_that_breaks_off(tmp_path):
    async def break_off(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def change(config):
        config["rpc"]["proxy"]["endpoint"] = f"http://127.0.0.1:{port}/"

    async with server, world(tmp_path, HttpBackend(), "rpc", change=change) as w:
        assert (await ask(w))["code"] == FAILED


async def test_an_answer_without_a_body(tmp_path):
    backend = HttpBackend()
    backend.answers["rpc"] = (204, "")
    async with world(tmp_path, backend, "rpc") as w:
        assert (await ask(w))["code"] == FAILED
        backend.answers["rpc"] = {"result": {"data": 1}}
        assert await ask(w) == {"data": 1}


async def test_redirects_are_not_followed(tmp_path):
    backend = HttpBackend()
    backend.answers["rpc"] = (307, "")
    backend.extra = {"Location": "/elsewhere"}
    async with world(tmp_path, backend, "rpc") as w:
        assert (await ask(w))["code"] == FAILED
        assert [kind for kind, _, _ in backend.asked] == ["rpc"]


async def test_status_codes_become_what_the_client_is_told(tmp_path):
    def change(config):
        config["rpc"]["proxy"]["http"] = {
            "status_to_code_transforms": [
                {"status_code": 404, "to_error": {"code": 404, "message": "no", "temporary": True}},
                {"status_code": 404, "to_error": {"code": 405, "message": "second"}},
                {"status_code": 403, "to_disconnect": {"code": 4503, "reason": "go"}},
            ]
        }

    backend = HttpBackend()
    async with world(tmp_path, backend, "rpc", change=change) as w:
        backend.answers["rpc"] = (404, "")
        assert await ask(w) == {"code": 404, "message": "no", "temporary": True}
        backend.answers["rpc"] = (403, "")
        assert await ask(w) == 4503


async def test_unknown_names_are_ignored_and_names_are_found_in_any_case(tmp_path):
    backend = HttpBackend()
    backend.answers["rpc"] = {"Result": {"DATA": 1, "later": [1]}, "else": None}
    async with world(tmp_path, backend, "rpc") as w:
        assert await ask(w) == {"data": 1}


async def test_a_client_that_leaves_is_not_asked_about_any_more(tmp_path):
    backend, released = HttpBackend(), asyncio.Event()

    async def wait(_message):
        await released.wait()
        return {"result": {"data": 1}}

    backend.answers["rpc"] = wait
    async with world(tmp_path, backend, "rpc") as w:
        (found,) = {id(b): b for b in w.backends.values()}.values()
        found._admission = Admission(1, 10, 60)  # one at a time
        first, second = await w.client(), await w.client()
        for client in (first, second):
            await client.connect()
            await client.send("rpc", method="m")
        await until(lambda: found._admission.waiting == 1)
        await second.socket.close()
        await until(lambda: w.server.node.hub.num_clients == 1)
        released.set()
        assert (await first.read())["rpc"] == {"data": 1}
        await until(lambda: found._admission.waiting == 0)
        assert len(backend.asked) == 1


# -- how much at a time


async def test_so_many_at_a_time_and_so_many_wait():
    admission = Admission(2, 1, 60)
    await admission.enter()
    await admission.enter()
    waiter = asyncio.ensure_future(admission.enter())
    await until(lambda: admission.waiting == 1)
    with pytest.raises(BackendError, match="2 questions are under way and 1 wait"):
        await admission.enter()
    admission.leave()
    await waiter
    assert admission.waiting == 0


async def test_nothing_waits_for_ever():
    admission = Admission(1, 1, 0.001)
    await admission.enter()
    with pytest.raises(BackendError, match=r"none ended for this one within 0\.001 s"):
        await admission.enter()
    admission.leave()
    await admission.enter()


async def test_who_gives_up_waiting_leaves_no_hole():
    admission = Admission(1, 1, 60)
    await admission.enter()
    waiter = asyncio.ensure_future(admission.enter())
    await until(lambda: admission.waiting == 1)
    waiter.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiter
    admission.leave()
    await admission.enter()


# -- what the log hears


def told(play):
    """Events and numbers of failures of the lines that ``play`` brings about."""
    begins, ends = "backend gives no answer", "backend answers again"
    outages = Outages(structlog.get_logger("test"), begins, ends, proxy="rpc.proxy")
    with capture_logs() as lines:
        play(outages)
    return [(line["event"], line["failures"]) for line in lines]


def test_an_outage_is_two_lines():
    def play(outages):
        for n in range(1000):
            outages.failed("status 500, not 200", n / 100)
        outages.answered(20.0)
        outages.answered(30.0)

    assert told(play) == [("backend gives no answer", 1), ("backend answers again", 999)]


def test_an_outage_right_after_another_is_told_of_if_it_goes_on():
    def play(outages):
        outages.failed("down", 0.0)
        outages.answered(5.0)
        for n in range(200):
            outages.failed("down", 5.1 + n / 100)

    events = [event for event, _ in told(play)]
    assert events == ["backend gives no answer", "backend answers again", "backend gives no answer"]


def test_a_long_outage_is_spoken_of_again():
    def play(outages):
        for second in range(125):
            outages.failed("down", float(second))

    assert told(play) == [("backend gives no answer", n) for n in (1, 60, 60)]


def test_a_backend_that_fails_now_and_then_does_not_flood_the_log():
    def play(outages):
        for n in range(1000):
            outages.failed("down", n / 100)
            outages.answered(n / 100 + 0.005)

    assert len(told(play)) <= 21


# -- configuration


def test_a_certificate_cannot_be_left_unchecked_over_grpc():
    proxy = SwitchableProxy(
        enabled=True,
        endpoint="grpc://127.0.0.1:1",
        grpc=ProxyGRPC(tls=TLSConfig(enabled=True, insecure_skip_verify=True)),
    )
    config = Config()
    object.__setattr__(config.client.proxy, "connect", proxy)
    with pytest.raises(ConfigError, match=r"insecure_skip_verify.*: this cannot be done over GRPC"):
        Server(config)


def test_nothing_is_connected_before_it_is_asked():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        proxy = SwitchableProxy(enabled=True, endpoint=f"http://127.0.0.1:{port}")
        config = Config()
        object.__setattr__(config.client.proxy, "connect", proxy)
        Server(config)
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


# -- everybody at once


class StormBackend(HttpBackend):
    """Answers when told; counts its work and its connections."""

    def __init__(self):
        super().__init__()
        self.peers, self.inside, self.most = set(), 0, 0
        self.turns = []
        self.answers["connect"] = self.think

    async def _post(self, request):
        self.peers.add(request.transport.get_extra_info("peername"))
        return await super()._post(request)

    async def think(self, _message):
        self.inside += 1
        self.most = max(self.most, self.inside)
        turn = asyncio.get_running_loop().create_future()
        self.turns.append(turn)
        await turn
        self.inside -= 1
        return {"result": {"user": "u"}}

    async def answer_all_until(self, condition):
        """Answers whoever is there, again and again."""

        def answer():
            for turn in self.turns:
                turn.set_result(None)
            self.turns.clear()

        await until(condition, meanwhile=answer)


async def test_a_storm_of_connects(tmp_path):
    """200 clients and 20 at a time stand for 5,000 and 512: what is counted does not change."""
    backend = StormBackend()
    async with world(tmp_path, backend, "connect") as w:
        (found,) = {id(b): b for b in w.backends.values()}.values()
        found._admission = Admission(20, 1000, 60)
        clients = [await w.client() for _ in range(200)]
        for client in clients:
            await client.send("connect")
        await until(lambda: (backend.inside, found._admission.waiting) == (20, 180))
        gone, stay = clients[100:], clients[:100]
        for client in gone:  # the browser's user has given up meanwhile
            await client.socket.close()
        await until(lambda: len(w.server.node.pending_sessions) == 100)
        await backend.answer_all_until(lambda: w.server.node.hub.num_clients == 100)
        for client in stay:
            assert "connect" in await client.read()
        assert backend.most == 20
        assert len(backend.peers) <= 20, "connections are used again"
        await until(lambda: found._admission.waiting == 0)
        assert len(backend.asked) == 100, "nobody asks about those who left"


async def test_more_than_may_wait_are_refused_at_once(tmp_path):
    backend = StormBackend()
    async with world(tmp_path, backend, "connect") as w:
        (found,) = {id(b): b for b in w.backends.values()}.values()
        found._admission = Admission(5, 10, 60)
        clients = [await w.client() for _ in range(40)]
        for client in clients:
            await client.send("connect")
        heard = await asyncio.gather(*(client.read() for client in clients[15:]))
        assert {reply["error"]["code"] for reply in heard} == {FAILED}
        assert all(reply["error"]["temporary"] for reply in heard)
        await backend.answer_all_until(lambda: w.server.node.hub.num_clients == 15)
        assert len(backend.asked) == 15


async def test_a_turn_that_comes_when_nobody_wants_it():
    admission = Admission(1, 2, 60)
    await admission.enter()
    first, second = (asyncio.ensure_future(admission.enter()) for _ in range(2))
    await until(lambda: admission.waiting == 2)
    admission.leave()  # the first one's turn, ...
    first.cancel()  # ... which gives up in the same moment
    await second
    with contextlib.suppress(asyncio.CancelledError):
        await first
    admission.leave()
    assert admission.enter_at_once()
