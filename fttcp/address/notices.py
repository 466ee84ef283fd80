"""The kernel's word that something has changed: it only says *when* to look, never what there is."""

import asyncio
import errno
import socket
from collections.abc import Callable

_DATAGRAM_MAX = 65536


class Notices:
    """Calls back in an asyncio loop when a netlink family has news for one of some groups."""

    def __init__(self, protocol: int, groups: int, on_news: Callable[[], None]) -> None:
        """``groups``: a bit mask. Raises OSError."""
        self._on_news = on_news
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setblocking(False)
        self._socket.bind((0, groups))
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def close(self) -> None:
        """Hear nothing more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _hear(self) -> None:
        """Read all that has come. An overrun (ENOBUFS) means more news: it is as good as news."""
        while True:
            try:
                self._socket.recv(_DATAGRAM_MAX)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
        self._on_news()
