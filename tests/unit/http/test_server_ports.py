"""What a starting server says of its ports."""

import os
import socket
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from flyball.core.errors import ConfigError
from flyball.server.app import Server
from flyball.server.config import Config
from flyball.server.config.schema_server import GrpcAPI, HTTPServer, UniGRPC


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        yield busy.getsockname()[1]


async def test_each_port_says_what_it_is_for():
    http = HTTPServer(address="127.0.0.1", port=0, internal_address="127.0.0.2")
    grpc = UniGRPC(enabled=True, address="127.0.0.1", port=0)
    api = GrpcAPI(enabled=True, address="127.0.0.1", port=0, key="k", reflection=True)
    server = Server(Config(http_server=http, uni_grpc=grpc, grpc_api=api))
    with capture_logs() as lines:
        await server.start()
    await server.stop()
    told = [line for line in lines if line["event"] == "serving"]
    expected = ["external", "internal", "grpc_api", "uni_grpc"]
    assert [line["endpoints"] for line in told] == expected
    assert all(line["port"] for line in told)


@pytest.mark.parametrize("section", ["external", "internal", "uni_grpc"])
async def test_a_port_in_use_is_named_with_its_options(taken, section):
    http, grpc = HTTPServer(address="127.0.0.1", port=0), UniGRPC()
    reason = "Address already in use"
    if section == "external":
        http = HTTPServer(address="127.0.0.1", port=taken)
        keys = "http_server.address and http_server.port"
    elif section == "internal":
        http = HTTPServer(address="127.0.0.1", port=0, internal_port=str(taken))
        keys = "http_server.internal_address and http_server.internal_port"
    else:
        grpc = UniGRPC(enabled=True, address="127.0.0.1", port=taken)
        keys, reason = "uni_grpc.address and uni_grpc.port", "the port is in use, or not ours"
    server = Server(Config(http_server=http, uni_grpc=grpc))
    with pytest.raises(ConfigError) as caught:
        await server.start()
    await server.stop()
    expected = f"cannot listen on 127.0.0.1:{taken} ({keys}): {reason}"
    assert str(caught.value).startswith(expected)


def test_grpc_keeps_its_own_lines_to_itself(taken):
    # A process of its own: the library looks at its switch once, when it is first imported.
    program = f"""
import asyncio, flyball
from flyball.transports.unigrpc.listener import UniGrpcListener, UniGrpcOptions
listener = UniGrpcListener(flyball.Node(), UniGrpcOptions(host="127.0.0.1", port={taken}))
try:
    asyncio.run(listener.start())
except OSError as error:
    print(error.strerror)
"""
    environ = {name: os.environ[name] for name in os.environ if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environ
    )
    assert (done.stdout, done.stderr) == ("the port is in use, or not ours to open\n", "")


def test_a_server_needs_no_asgi_server():
    program = """
import asyncio, sys
from flyball.server.app import Server
from flyball.server.config import Config
from flyball.server.config.schema_server import HTTPServer

async def main():
    server = Server(Config(http_server=HTTPServer(address="127.0.0.1", port=0)), demo=True)
    await server.start()
    await server.stop()

asyncio.run(main())
print({"uvicorn", "starlette", "fastapi"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.splitlines()[-1] == "set()"
