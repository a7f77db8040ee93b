"""``--workers N``: several processes as one server, with nothing configured."""

import asyncio
import json
import os
import signal
import urllib.request
from pathlib import Path

import aiohttp
import pytest
from ports import free_port
from processes import FLYBALL, Program
from waiting import until, wait_for

from flyball.cli.audit import AuditOptions, Auditor
from flyball.server.metrics.merge import merge

KEY = "secret"


class Workers:
    """A supervisor and what it supervises."""

    def __init__(self, folder, count=2, **more):
        self.port = free_port()
        config = {
            "client": {"insecure": True, "allowed_origins": []},
            "http_api": {"key": KEY},
            "health": {"enabled": True},
            "prometheus": {"enabled": True},
            "pid_file": str(folder / "pid"),
            "http_stream": {"enabled": True},
            "channel": {
                "namespaces": [
                    {
                        "name": "audit",
                        "history_size": 100000,
                        "history_ttl": "300s",
                        "force_recovery": True,
                        "allow_subscribe_for_client": True,
                        "allow_subscribe_for_anonymous": True,
                    }
                ]
            },
            **more,
        }
        path = folder / "config.json"
        path.write_text(json.dumps(config))
        self.program = Program(
            str(FLYBALL),
            *("-c", str(path), "--workers", str(count), "--http_server.port", str(self.port)),
            cwd=folder,
        )
        self.count = count
        self.program.wait_for(lambda: len(self.pids) == count)

    @property
    def pids(self):
        return [record["pid"] for record in self.program.records("started")]

    def call(self, method, **request):
        body = json.dumps(request).encode()
        url = f"http://127.0.0.1:{self.port}/api/{method}"
        call = urllib.request.Request(url, body, {"X-API-Key": KEY})
        with urllib.request.urlopen(call, timeout=30) as answer:
            return json.load(answer)["result"]

    def nodes(self):
        return {node["name"] for node in self.call("info")["nodes"]}


@pytest.fixture
def workers(tmp_path):
    found = Workers(tmp_path)
    yield found
    assert found.program.stop() == 0
    assert not any(alive(pid) for pid in found.pids)
    assert not (tmp_path / "pid").exists()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


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


async def test_streams_reach_their_session_on_another_worker(workers):
    where = f"http://127.0.0.1:{workers.port}"
    await asyncio.to_thread(wait_for, lambda: len(workers.nodes()) == 2, "both workers")
    for _ in range(10):
        async with aiohttp.ClientSession() as web:
            body = '{"id":1,"connect":{}}'
            async with web.post(f"{where}/connection/http_stream", data=body) as stream:
                connected = json.loads(await stream.content.readline())["connect"]
                command = {"id": 2, "subscribe": {"channel": "audit:1"}}
                request = {
                    "session": connected["session"],
                    "node": connected["node"],
                    "data": json.dumps(command),
                }
                async with aiohttp.ClientSession() as other:
                    answer = await other.post(f"{where}/emulation", json=request)
                assert answer.status == 204
                assert json.loads(await stream.content.readline())["id"] == 2


def test_a_reload_reaches_all(workers):
    workers.program.process.send_signal(signal.SIGHUP)
    workers.program.wait_for(
        lambda: len(workers.program.records("configuration reloaded")) == workers.count
    )


def test_workers_end_with_their_supervisor(tmp_path):
    workers = Workers(tmp_path)
    pid = workers.program.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == workers.count + 1  # and the store
    workers.program.kill()
    wait_for(lambda: not any(alive(int(child)) for child in children), "end of all")


def test_what_is_wrong_ends_all(tmp_path):
    with Program(
        str(FLYBALL), "--workers", "2", "--http_server.port", "0", cwd=tmp_path
    ) as program:
        assert program.end() == 1
        assert "http_server.port is 0; several workers need one port" in program.output


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
