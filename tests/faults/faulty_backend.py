"""A backend process for tests to kill: ``faulty_backend.py http|grpc PORT LEDGER``.

Each call that it carries out is a line of the ledger, written before the answer. Over HTTP the path
says what is wrong with it.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

KIND, PORT, LEDGER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
MIB = 1024 * 1024


def carry_out(data):
    """Runs a call, for good."""
    line = data + b"\n"
    descriptor = os.open(LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line)
    os.close(descriptor)
    return data


def plain(text):
    return OK % (len(text), text)


BROKEN = {
    "half": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",),
    "reset": (),
    "redirect": (
        b"HTTP/1.1 307 Moved\r\nLocation: /ok\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ),
    "huge": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[b"100000\r\n" + b" " * MIB + b"\r\n"] * 8,
    ),
    "html": (plain(b"<html>it works</html>"),),
    "types": (plain(b'{"result":{"data":1},"error":[]}'),),
    "http": (b"SSH-2.0-OpenSSH_9.2\r\n",),
}


async def handle(reader, writer):
    """Requests of one connection, until it is closed or one breaks it."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\r")[0])
            body = json.loads(await reader.readexactly(size))
            path = head.split(b" ")[1].decode().strip("/")
            if path == "hang":
                await asyncio.Event().wait()
            if path in BROKEN:
                for part in BROKEN[path]:
                    writer.write(part)
                    await writer.drain()
                return
            data = carry_out(json.dumps(body["data"]).encode())
            writer.write(plain(b'{"result":{"data":%s}}' % data))
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def serve_http():
    server = await asyncio.start_server(handle, "127.0.0.1", PORT)
    await server.serve_forever()


async def serve_grpc():
    import grpc.aio

    from flyball.server.proxies import messages as m
    from flyball.server.proxies.grpc import SERVICE
    from flyball.server.proxies.schema import PROXY

    write = PROXY.protobuf.write

    async def rpc(message, _context):
        asked = PROXY.protobuf.read(m.RPCRequest, message)
        return write(m.RPCResponse(result=m.RPCResult(data=m.Raw(carry_out(bytes(asked.data))))))

    async def stream(_message, _context):
        yield write(m.StreamSubscribeResponse(subscribe_response=m.SubscribeResponse()))
        yield write(
            m.StreamSubscribeResponse(publication=m.Publication(m.Raw(b"%d" % os.getpid())))
        )
        await asyncio.Event().wait()

    handlers = {
        "RPC": grpc.unary_unary_rpc_method_handler(rpc),
        "SubscribeUnidirectional": grpc.unary_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{PORT}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(serve_http() if KIND == "http" else serve_grpc())
