"""``--workers N``: several processes as one server, with nothing configured."""

import asyncio
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import aiohttp
import pytest
from manyworkers import KEY, Workers, alive
from ports import free_port
from processes import FLYBALL, Program
from waiting import PATIENCE, until, wait_for

from flyball.cli.audit import AuditOptions, Auditor
from flyball.server.config import load_config
from flyball.server.metrics.merge import merge
from flyball.server.workers import own_names

FORM = ("Content-Type", "application/x-www-form-urlencoded")


@pytest.fixture
def workers(tmp_path):
    found = Workers(tmp_path)
    yield found
    assert found.program.stop() == 0
    assert not any(alive(pid) for pid in found.pids)
    assert not (tmp_path / "pid").exists()


async def test_they_act_as_one(workers, tmp_path):
    assert int((tmp_path / "pid").read_text()) == workers.program.process.pid
    await asyncio.to_thread(wait_for, lambda: len(workers.nodes()) == 2, "both workers")
    where = f"127.0.0.1:{workers.port}"
    options = AuditOptions(
        # Connections are spread by the kernel: of so many not all go to one worker.
        websockets=(f"ws://{where}/connection/websocket",) * 12,
        apis=(f"http://{where}/api",),
        api_key=KEY,
        channels=("audit:1",),
    )
    async with Auditor(options) as auditor:
        await until(lambda: auditor.acknowledged() > 100)
        async with aiohttp.ClientSession() as web:
            page = await (await web.get(f"http://{where}/metrics")).text()
        assert "centrifugo_node_num_clients 12.0" in page.splitlines()
        assert "centrifugo_node_num_nodes 2.0" in page.splitlines()
        await asyncio.to_thread(
            wait_for,  # news of nodes are some seconds old
            lambda: sum(n["num_clients"] for n in workers.call("info")["nodes"]) == 12,
            "all clients in the info",
        )
        victim = workers.pids[0]
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(workers.pids) == 3, "a new worker")
        goal = auditor.acknowledged() + 100
        await until(lambda: auditor.acknowledged() > goal)
        report = await auditor.end()
    assert report.passed, report.violations


def test_a_reload_reaches_all(workers):
    workers.config["http_server"]["workers"] = 3
    workers.write()
    workers.program.process.send_signal(signal.SIGHUP)
    workers.program.wait_for(
        lambda: len(workers.program.records("configuration reloaded")) == workers.count
    )
    # The flag goes before what has changed in the file.
    assert not workers.program.records("some options that changed wait for a restart")


@pytest.mark.parametrize("by", ["file", "variable"])
def test_the_configuration_says_how_many(tmp_path, by):
    server = {"workers": 2} if by == "file" else {}
    environ = {"FLYBALL_HTTP_SERVER_WORKERS": "2"} if by == "variable" else {}
    workers = Workers(tmp_path, 0, environ, http_server=server)
    workers.config["http_server"]["workers"] = 1
    workers.write()
    workers.program.process.send_signal(signal.SIGHUP)
    waits = "some options that changed wait for a restart"
    workers.program.wait_for(
        lambda: len(workers.program.records("configuration reloaded")) == workers.count
    )
    told = workers.program.records(waits, keys=["http_server.workers"])
    assert len(told) == (workers.count if by == "file" else 0)
    workers.wait_until_all_know_each_other()
    assert workers.program.stop() == 0


def test_one_health_for_all(workers):
    first, second = workers.pid_of(1), workers.pid_of(2)
    assert workers.health() == (200, [])
    os.kill(first, signal.SIGSTOP)
    silent = "worker 1 does not answer within 2 s"
    try:  # new connections are spread: one that comes to the one that stands is not answered
        wait_for(lambda: answered(workers) == (503, [silent]), "health of the other")
    finally:
        os.kill(first, signal.SIGCONT)
    wait_for(lambda: workers.health() == (200, []), "health of all")
    os.kill(second, signal.SIGKILL)
    told = workers.program.record("a worker has ended and is started again", worker=2)
    assert (told["pid"], told["code"], told["in_a_row"]) == (second, -signal.SIGKILL, 1)
    assert told["restart_in"] < 1
    wait_for(lambda: workers.health() == (200, []), "health of all")
    assert workers.pid_of(2) != second


def test_a_client_that_sends_no_more_is_answered_by_any_worker(tmp_path):
    workers = Workers(tmp_path, sockjs={"enabled": True})
    for number in range(16):  # sessions of either worker
        with socket.create_connection(("127.0.0.1", workers.port), PATIENCE) as client:
            path = f"/connection/sockjs/000/session-{number}/xhr_send"
            head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
            client.sendall(head.encode() + b'["x"]')
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 404 ")
    assert workers.program.stop() == 0


def test_a_long_folder_for_temporary_files(tmp_path):
    long = tmp_path / ("t" * 100)
    long.mkdir()
    workers = Workers(tmp_path, environ={"TMPDIR": str(long)})
    wait_for(lambda: workers.health() == (200, []), "health of all")
    assert workers.program.stop() == 0


def answered(workers):
    """The health, asked for with little patience."""
    url = f"http://127.0.0.1:{workers.port}/health"
    try:
        with urllib.request.urlopen(url, timeout=4) as answer:
            return answer.status, []
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["problems"]
    except TimeoutError:
        return None


def test_a_worker_that_dies_again_and_again_is_started_later_each_time(workers):
    delays = []
    for _ in range(3):
        pid = workers.pid_of(1)
        known = len(workers.pids)
        os.kill(pid, signal.SIGKILL)
        told = workers.program.record("a worker has ended and is started again", pid=pid)
        delays.append(told["restart_in"])
        workers.program.wait_for(lambda known=known: len(workers.pids) > known)
    assert delays == sorted(delays)
    assert workers.fetch("/health")[0] in (200, 503)  # the other has served all the time


async def test_the_store_is_started_again_when_it_is_killed(workers):
    workers.wait_until_all_know_each_other()
    where = f"127.0.0.1:{workers.port}"
    options = AuditOptions(
        websockets=(f"ws://{where}/connection/websocket",) * 4,
        apis=(f"http://{where}/api",),
        api_key=KEY,
        channels=("audit:1",),
    )
    async with Auditor(options) as auditor:
        await until(lambda: auditor.acknowledged() > 100)
        os.kill(store_of(workers), signal.SIGKILL)
        message = "the embedded store has ended and is started again, empty"
        await until(lambda: workers.program.records(message))
        goal = auditor.acknowledged() + 100
        await until(lambda: auditor.acknowledged() > goal)
        await asyncio.to_thread(wait_for, lambda: workers.health() == (200, []), "health of all")
        report = await auditor.end()
    assert report.passed, report.violations


def store_of(workers):
    """The process of the store that a supervisor has started."""
    (store,) = set(children_of(workers.program.process.pid)) - set(workers.pids)
    return store


def children_of(pid):
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_internal_port_and_the_admin_page(tmp_path):
    workers = Workers(
        tmp_path,
        http_server={"internal_port": str(free_port())},
        admin={"enabled": True, "password": "open", "secret": "s"},
    )
    workers.wait_until_all_know_each_other()
    wait_for(lambda: workers.health() == (200, []), "health of all")
    assert workers.fetch("/health", port=workers.port)[0] == 404
    status, body = workers.fetch("/admin/auth", b"password=open", [FORM])
    assert status == 200
    signed_in = ("Authorization", f"token {json.loads(body)['token']}")
    for _ in range(12):  # whichever worker it comes to
        assert workers.fetch("/admin/settings", None, [signed_in])[0] == 200
    assert workers.fetch("/admin/logout", b"", [signed_in])[0] == 204
    for _ in range(12):
        assert workers.fetch("/admin/settings", None, [signed_in])[0] == 401
    with Program(
        *(str(FLYBALL), "-c", str(workers.path), "--workers", "2"),
        *("--http_server.port", str(free_port())),
        cwd=tmp_path,
    ) as other:
        assert other.end() == 1
        where = f"cannot listen on *:{workers.internal_port} (http_server.internal_port)"
        assert where in other.output
    assert workers.program.stop() == 0


def test_a_signal_at_the_very_beginning_ends_all(tmp_path):
    file = tmp_path / "config.json"
    file.write_text("{}")
    port = ("--http_server.port", str(free_port()))
    command = (str(FLYBALL), "-c", str(file), "--workers", "2", *port)
    with Program(*command, cwd=tmp_path) as program:
        program.wait_for(lambda: program.records("workers started"))
        children = children_of(program.process.pid)
        assert len(children) == 3
        assert program.stop() == 0
    wait_for(lambda: not any(map(alive, children)), "end of all")


def test_workers_end_with_their_supervisor(tmp_path):
    workers = Workers(tmp_path)
    pid = workers.program.process.pid
    children = children_of(pid)
    assert len(children) == workers.count + 1  # and the store
    workers.program.kill()
    wait_for(lambda: not any(map(alive, children)), "end of all")


def test_what_is_wrong_ends_all(tmp_path):
    with Program(
        str(FLYBALL), "--workers", "2", "--http_server.port", "0", cwd=tmp_path
    ) as program:
        assert program.end() == 1
        assert "http_server.port (FLYBALL_HTTP_SERVER_PORT): it is 0; 2 workers need" in (
            program.output
        )


def test_a_port_in_use_is_noticed(workers, tmp_path):
    with Program(
        *(str(FLYBALL), "--workers", "2", "--http_server.port", str(workers.port)), cwd=tmp_path
    ) as program:
        assert program.end() == 1
        assert f"cannot listen on *:{workers.port} (http_server.port)" in program.output


def test_pages_are_added_up():
    one = b'# HELP a x\n# TYPE a counter\na{l="1"} 2.0\n# HELP s x\ns{quantile="0.5"} 3.0\ns_sum 1.0\n'
    two = b'# HELP a x\n# TYPE a counter\na{l="1"} 3.0\na{l="2"} 1.0\n# HELP node_num_nodes x\nnode_num_nodes 2.0\n'
    three = b'# HELP s x\ns{quantile="0.5"} 1.0\ns_sum 2.0\n# HELP node_num_nodes x\nnode_num_nodes 2.0\n'
    assert merge([one, two, three]).decode().splitlines() == [
        *("# HELP a x", "# TYPE a counter", 'a{l="1"} 5.0', 'a{l="2"} 1.0'),
        *("# HELP s x", 's{quantile="0.5"} 3.0', "s_sum 3.0"),
        *("# HELP node_num_nodes x", "node_num_nodes 2.0"),
    ]


def test_each_has_its_own_names(tmp_path):
    file = tmp_path / "config.json"
    kafka = {"name": "reads", "type": "kafka", "kafka": {"instance_id": "here"}}
    file.write_text(json.dumps({"consumers": [kafka, {"name": "other", "type": "kafka"}]}))
    environ = own_names(load_config(file, environ={}).config, "node", 2)
    config = load_config(file, environ=environ).config
    assert config.node.name == "node_2"
    assert [c.kafka.instance_id for c in config.consumers] == ["here_2", ""]
