"""The kernel's word that something has changed: it only says *when* to look, never what there is."""

import asyncio
import errno
import socket
from collections.abc import Callable

_DATAGRAM_MAX = 65536
_ROOM = 4096
"""Of a socket's queue. What does not fit is an overrun, and that is news as well: so the loop reads a few
messages at a time, whatever is going on in the kernel."""
_AT_ONCE = 16


class Notices:
    """Calls back in an asyncio loop when a netlink family has news for one of some groups."""

    def __init__(self, protocol: int, groups: int, on_news: Callable[[], None]) -> None:
        """``groups``: a bit mask. Raises OSError."""
        self._on_news = on_news
        self._socket = _listening(protocol, groups)
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def close(self) -> None:
        """Hear nothing more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _hear(self) -> None:
        """Read all that has come. An overrun (ENOBUFS) means more news: it is as good as news."""
        _drain(self._socket)
        self._on_news()


class News:
    """Waits for news of some netlink families. Nobody listens but who waits: changes without end cost the
    loop no more than those who look at them."""

    def __init__(self, *families: tuple[int, int]) -> None:
        """Of each its protocol, and a bit mask of groups. Raises OSError."""
        self._sockets = [_listening(protocol, groups) for protocol, groups in families]

    def close(self) -> None:
        """Nothing comes any more."""
        for one in self._sockets:
            one.close()

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for what has come since the last news; False if there is none in time (None: for ever)."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        for one in self._sockets:
            loop.add_reader(one, heard.set)
        try:
            async with asyncio.timeout(timeout_s):
                await heard.wait()
        except TimeoutError:
            return False
        finally:
            for one in self._sockets:
                loop.remove_reader(one)
        for one in self._sockets:
            _drain(one)
        return True


def _listening(protocol: int, groups: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        made.bind((0, groups))
    except OSError:
        made.close()
        raise
    return made


def _drain(sock: socket.socket) -> None:
    """Read what has come, an overrun (ENOBUFS) included, but not what goes on coming."""
    for _ in range(_AT_ONCE):
        try:
            sock.recv(_DATAGRAM_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
