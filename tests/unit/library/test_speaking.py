"""What a program hears of the library: at its terminal, with nothing set up."""

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import threading

import pytest
from ports import accepts, free_port
from processes import BIN, Program
from waiting import wait_for

import flyball

NODE = """
import flyball, logging
node = flyball.Node()
node.on_connecting(lambda event: flyball.Credentials(user="ann"))
"""
HANDSHAKE = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    b"Origin: https://evil.example\r\n\r\n"
)


def program(code, **options):
    return Program(sys.executable, "-c", NODE + code, **options)


def handshake(port):
    """Status line of a handshake by a page of evil.example."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(HANDSHAKE)
        return peer.recv(100).split(b"\r\n")[0]


def test_run_says_what_it_serves_and_whom_it_refuses():
    port = free_port()
    with program(f"flyball.run(node, port={port}, origins=['https://ok.example'])") as running:
        running.wait_for(lambda: any("web pages" in line for line in running.lines))
        assert b"403" in handshake(port)
        assert running.stop(signal.SIGINT) == 0
    base = f"127.0.0.1:{port}"
    assert running.lines[:-1] == [
        f"Flyball {flyball.__version__} serves on http://{base}\n",
        f"  websocket       ws://{base}/connection/websocket\n",
        f"  http_stream     http://{base}/connection/http_stream\n",
        f"  sse             http://{base}/connection/sse\n",
        "  web pages       https://ok.example\n",
        (
            "pages of 'https://evil.example' may not connect: origins=... allows "
            "'https://ok.example' (programs other than browsers may always)\n"
        ),
    ]


def test_run_tells_the_log_where_there_is_one():
    code = (
        "logging.basicConfig(level='INFO', format='%(levelname)s %(name)s %(message)s')\n"
        "flyball.run(node, port=0, host='::1')"
    )
    with program(code) as running:
        running.wait_for(lambda: any("web pages" in line for line in running.lines))
        assert running.stop() == 0
    assert running.lines[0].startswith("INFO flyball.serving serving on [::1]:")
    assert running.lines[1].startswith("INFO flyball.serving Flyball ")
    assert "web pages       none may connect; origins=" in running.output


def test_a_busy_port_is_a_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with program(f"flyball.run(node, port={port})") as running:
            assert running.end() == 1
    assert running.output == (
        f"flyball: cannot listen on 127.0.0.1:{port}: address already in use; another program "
        "has it: stop that one, or choose another port (port=0: any)\n"
    )


def test_a_node_without_a_door_is_a_message():
    code = "import flyball; flyball.run(flyball.Node(), port=0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "@node.on_connecting\n" in done.stderr


def test_ports_and_addresses_that_are_none():
    async def serve(**options):
        node = flyball.Node(clients=False)
        async with flyball.serve(node, **options):
            pass

    with pytest.raises(OSError, match=r"cannot listen on 127.0.0.1:70000: 70000 is no port"):
        asyncio.run(serve(port=70000))
    with pytest.raises(OSError, match=r"cannot listen on 192.0.2.1:0: .*host is one of its own"):
        asyncio.run(serve(host="192.0.2.1", port=0))


def test_run_is_for_the_main_thread():
    seen = []

    def run():
        with pytest.raises(RuntimeError, match=r"main thread only: use `async with flyball.serve"):
            flyball.run(flyball.Node())
        seen.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen


async def test_run_is_not_for_a_running_loop():
    with pytest.raises(RuntimeError, match=r"one is running here: use `async with flyball.serve"):
        flyball.run(flyball.Node())


async def test_serving_is_told_to_the_log(caplog):
    caplog.set_level(logging.INFO, "flyball.serving")
    async with flyball.serve(flyball.Node(clients=False), host="", port=0) as listener:
        assert caplog.messages == [f"serving on *:{listener.port}"]


def test_a_refused_origin_is_no_error_of_uvicorn(tmp_path):
    (tmp_path / "served.py").write_text(
        NODE + "async def app(scope, receive, send, inner=flyball.asgi.app(node)):\n"
        "    scope = {**scope, 'root_path': '/connection'}\n"
        "    await inner(scope, receive, send)\n"
    )
    port = free_port()
    command = (BIN / "uvicorn", "served:app", "--port", str(port), "--log-level", "warning")
    with Program(*command, cwd=tmp_path) as server:
        wait_for(lambda: accepts(port), "server")
        assert b"403" in handshake(port)
        server.wait_for(lambda: any("evil.example" in line for line in server.lines))
        server.stop()
    said = [
        line for line in server.lines if "Deprecation" not in line and "warnings.warn" not in line
    ]
    assert said[:-1] == [
        (
            "pages of 'https://evil.example' may not connect: origins=... allows no page at all "
            "(programs other than browsers may always)\n"
        )
    ]
