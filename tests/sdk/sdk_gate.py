"""A TCP gate between a client and the server that a test can shut."""

import asyncio


class Gate:
    """Passes bytes on, until :meth:`cut` breaks what is open or :meth:`shut` lets nobody in."""

    def __init__(self, port):
        self._target = port
        self._writers = set()
        self._tasks = set()
        self._open = True

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
