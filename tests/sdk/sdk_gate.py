"""A TCP gate between a client and the server that a test can shut."""

import asyncio


class Gate:
    """Passes bytes on, until :meth:`cut` breaks what is open or :meth:`shut` lets nobody in."""

    def __init__(self, port):
        self._target = port
        self._writers = set()
        self._tasks = set()
        self._open = True
        self.accepted = 0
        """Connections so far."""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def websocket(self):
        """Address for SDKs."""
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    def cut(self):
        """Breaks every connection, without a close frame."""
        for writer in self._writers:
            writer.transport.abort()

    def shut(self):
        """Breaks every connection and refuses new ones."""
        self._open = False
        self.cut()

    def reopen(self):
        """Lets clients in again."""
        self._open = True

    async def _accept(self, reader, writer):
        if not self._open:
            writer.transport.abort()
            return
        self.accepted += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, back_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pass(reader, back_writer), self._pass(back_reader, writer))
        finally:
            self._writers -= both

    async def _pass(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class UdpGate:
    """The same for datagrams: what is shut loses them silently, as networks do."""

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        self._open = True
        self._links = {}
        """Client address to a task that makes our socket towards the server."""

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._from_client), local_addr=("127.0.0.1", 0)
        )
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_):
        self._transport.close()
        for link in await asyncio.gather(*self._links.values()):
            link.close()

    def shut(self):
        """Loses everything."""
        self._open = False

    def reopen(self):
        """Lets datagrams pass again."""
        self._open = True

    def _from_client(self, data, client):
        if not self._open:
            return
        link = self._links.get(client)
        if link is None:
            link = self._links[client] = asyncio.ensure_future(self._link(client))
        link.add_done_callback(lambda made: made.result().sendto(data))

    async def _link(self, client):
        def back(data, _):
            if self._open and not self._transport.is_closing():
                self._transport.sendto(data, client)

        loop = asyncio.get_running_loop()
        link, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(back), remote_addr=self._target
        )
        return link


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take):
        self._take = take

    def datagram_received(self, data, address):
        self._take(data, address)
