"""A relay in front of two copies of a server: each client's words go to both, from one port; the leader's
answers go to the client. What both have said is kept."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PIECE = 7
"""The follower is given a client's words in pieces of so many bytes, now and then."""


@dataclass
class Talk:
    """A client's connection: what it said, and what both copies answered."""

    said: bytearray = field(default_factory=bytearray)
    answers: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))


class Relay:
    """Listens on `port`, and passes on to the ports of a leader and a follower."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self._ports = ports
        self.talks: list[Talk] = []
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[Relay]:
        """While the block runs; at its end all connections have ended."""
        loop, began = asyncio.new_event_loop(), threading.Event()

        def serve() -> None:
            loop.run_until_complete(self._serve(began))

        thread = threading.Thread(target=serve)
        thread.start()
        began.wait(20)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(self._over.set)
            thread.join()
            loop.close()

    async def _serve(self, began: threading.Event) -> None:
        self._over, self._tasks = asyncio.Event(), set[asyncio.Task[None]]()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        began.set()
        await self._over.wait()
        server.close()
        _, late = await asyncio.wait(self._tasks, timeout=20) if self._tasks else (set(), set())
        for task in late:
            task.cancel()
        if late:
            raise TimeoutError(f"{len(late)} connections have not ended")

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        talk = Talk()
        self.talks.append(talk)
        leader, follower = await self._both()
        words = asyncio.Queue[bytes]()
        await asyncio.gather(
            self._pass_on(reader, leader[1], talk, words),
            self._say_later(words, follower[1], len(self.talks)),
            self._answer(leader[0], talk.answers[0], writer),
            self._answer(follower[0], talk.answers[1], None),
        )

    async def _both(self) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connections to both from one port."""
        found: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        port = 0
        for there in self._ports:
            one = socket.socket()
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))
            port = one.getsockname()[1]
            await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", there))
            found.append(await asyncio.open_connection(sock=one))
        return found

    async def _pass_on(
        self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, talk: Talk, words: asyncio.Queue[bytes]
    ) -> None:
        while piece := await reader.read(1 << 16):
            talk.said += piece
            words.put_nowait(piece)
            to.write(piece)
            await to.drain()
        words.put_nowait(b"")
        to.write_eof()

    async def _say_later(self, words: asyncio.Queue[bytes], to: asyncio.StreamWriter, number: int) -> None:
        """In other pieces than the leader was given them, and in another order of connections."""
        while piece := await words.get():
            size = _PIECE if number % 2 and len(piece) < 200 else len(piece)
            for at in range(0, len(piece), size):
                to.write(piece[at : at + size])
                await to.drain()
        to.write_eof()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, kept: bytearray, to: asyncio.StreamWriter | None) -> None:
        while piece := await reader.read(1 << 16):
            kept += piece
            if to is not None:
                to.write(piece)
        if to is not None:
            to.close()
