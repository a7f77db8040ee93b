"""A backend that does next to nothing, and a client that only calls it.

``serve`` answers questions of proxies over HTTP or GRPC: RPC with what was sent, connect with a
user. ``call`` asks it as fast as a plain aiohttp or grpcio client can, so many at a time, and says
what that costs: the floor of a proxied call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from flyball.server.proxies import messages as m
from flyball.server.proxies.grpc import SERVICE
from flyball.server.proxies.schema import PROXY

CLIENT = {"client": "0" * 36, "transport": "websocket", "protocol": "json", "encoding": "json"}
DATA = b'{"t":"0000000000000000000","p":"' + b"x" * 94 + b'"}'
QUESTION = m.RPCRequest(**CLIENT, user="", method="m", data=m.Raw(DATA))
HTTP_BODY = PROXY.json_writer.encode(QUESTION)
CONNECTED = b'{"result":{"user":"42"}}'
PATH = f"/{SERVICE}/RPC"


class HttpBackend(asyncio.Protocol):
    """One request at a time, with a length."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while (end := self._seen.find(b"\r\n\r\n") + 4) > 3:
            head = self._seen[:end]
            size = int(head.lower().split(b"content-length:")[1].split(b"\r")[0])
            if len(self._seen) < end + size:
                return
            body, self._seen = self._seen[end : end + size], self._seen[end + size :]
            answer = self._answer(head, body)
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(answer), answer)
            )

    @staticmethod
    def _answer(head: bytes, body: bytes) -> bytes:
        if head.startswith(b"POST /rpc"):
            return b'{"result":{"data":%s}}' % body[body.index(b'"data":') + 7 : -1]
        return CONNECTED


async def serve_http(port: int) -> None:
    """Answers over HTTP until it is stopped."""
    server = await asyncio.get_running_loop().create_server(HttpBackend, "127.0.0.1", port)
    await server.serve_forever()


async def serve_grpc(port: int) -> None:
    """Answers over GRPC until it is stopped."""
    import grpc.aio

    async def rpc(message: bytes, _context: Any) -> bytes:
        asked = PROXY.protobuf.read(m.RPCRequest, message)
        return PROXY.protobuf.write(m.RPCResponse(result=m.RPCResult(data=asked.data)))

    async def connect(_message: bytes, _context: Any) -> bytes:
        return PROXY.protobuf.write(m.ConnectResponse(result=m.ConnectResult(user="42")))

    methods = {"RPC": rpc, "Connect": connect}
    handlers = {name: grpc.unary_unary_rpc_method_handler(f) for name, f in methods.items()}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


Call = Callable[[], Awaitable[object]]


async def call_http(port: int, measure: Callable[[Call], Awaitable[None]]) -> None:
    """Plain aiohttp."""
    import aiohttp

    url = f"http://127.0.0.1:{port}/rpc"
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def call() -> None:
            async with session.post(url, data=HTTP_BODY, headers=headers) as answer:
                await answer.read()

        await measure(call)


async def call_grpc(port: int, measure: Callable[[Call], Awaitable[None]]) -> None:
    """Plain grpcio."""
    import grpc.aio

    message = PROXY.protobuf.write(QUESTION)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(PATH)

        async def call() -> None:
            await method(message, timeout=5)

        await measure(call)


async def measure_calls(call: Call, seconds: float, window: int) -> None:
    """Calls ``window`` at a time for so long, and prints the CPU time of each."""
    await call()
    counts = [0] * window
    before, until = _cpu(), time.monotonic() + seconds

    async def one(number: int) -> None:
        while time.monotonic() < until:
            await call()
            counts[number] += 1

    await asyncio.gather(*map(one, range(window)))
    done = sum(counts)
    answer = {"cpu_us_per_op": (_cpu() - before) * 1e6 / done, "ops": done}
    print(json.dumps(answer))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("serve", "call"))
    parser.add_argument("protocol", choices=("http", "grpc"))
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--window", type=int, default=50)
    given = parser.parse_args()
    if given.role == "serve":
        serve = serve_http if given.protocol == "http" else serve_grpc
        uvloop.run(serve(given.port))
        return

    async def measure(call: Call) -> None:
        await measure_calls(call, given.seconds, given.window)

    calls = call_http if given.protocol == "http" else call_grpc
    uvloop.run(calls(given.port, measure))


if __name__ == "__main__":
    main()
