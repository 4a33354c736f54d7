"""A TCP proxy on loopback whose line a test can cut, slow down, let go dead, or refuse."""

import asyncio
import contextlib
import socket
import struct
from typing import Self
from urllib.parse import urlsplit

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TCPProxy:
    """Stands in front of the server of a URL, on the event loop of the test.

    `delay_s` holds back each piece of data, in both directions; `is_holding_back` is set by the first. `cut` resets
    what is connected; `refuse` and `half_open` are states, which `restore` ends.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._lines: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self._listener: asyncio.Server | None = None
        self._is_half_open = False
        self.port = 0
        self.delay_s = 0.0
        self.accepted = 0
        self.is_holding_back = asyncio.Event()

    @property
    def url(self) -> str:
        """The URL, by way of the proxy."""
        login = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{login}@{self.address}").geturl()

    @property
    def address(self) -> str:
        """host:port, for a URL of several."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        self.cut()
        while self._lines:  # noqa: ASYNC110 - they end by themselves
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Reset every connection, as a router does that forgot them."""
        for line in self._lines:
            for writer in filter(None, line):
                _reset(writer)

    async def refuse(self) -> None:
        """Refuse new connections, as a machine where nothing listens."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            await asyncio.sleep(0)

    def half_open(self) -> None:
        """Take everything and answer nothing: new connections, too. The server's machine is gone without a word."""
        self._is_half_open = True

    async def restore(self) -> None:
        """Serve again. What was connected while it was dead is reset: whoever is there now does not know it."""
        if self._is_half_open:
            self._is_half_open = False
            self.cut()
        self.delay_s = 0.0
        if self._listener is None:
            await self._listen()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        from_server, to_server = None, None
        if not self._is_half_open:
            from_server, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        line = (to_client, to_server)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(from_client, to_server))
                if from_server is not None:
                    pumps.create_task(self._pump(from_server, to_client))
        finally:
            self._lines.discard(line)
            for writer in filter(None, line):
                _reset(writer)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter | None) -> None:
        # A connection that was reset ends like one that was closed.
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.delay_s:
                    self.is_holding_back.set()
                    await asyncio.sleep(self.delay_s)
                if target is not None and not self._is_half_open:
                    target.write(data)
                    await target.drain()
        if target is not None and not self._is_half_open:
            target.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
