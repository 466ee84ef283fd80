"""A client that talks all the time: each line must come back, exactly, before the next one goes."""

from __future__ import annotations

import select
import subprocess
import sys

from lab.lifecycle import Lab
from lab.network import CLIENT

_TALK_S = 10.0
_TALK = """
import os, select, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as sock, sock.makefile("rb") as heard:
    sock.settimeout(8)
    number = 0
    while not select.select([0], [], [], 0.005)[0]:
        number += 1
        sock.sendall(b"%d\\n" % number)
        line = heard.readline()
        assert line == b"%d\\n" % number, (number, line)
        os.write(1, b".")
    sock.shutdown(socket.SHUT_WR)
    assert heard.read() == b""
"""


class Talk:
    """A connection on which each line must come back before the next one goes."""

    def __init__(self, lab: Lab, address: str, port: int) -> None:
        self._place = f"{address} port {port}"
        self._process = lab.popen(
            CLIENT, [sys.executable, "-c", _TALK, address, str(port)], cwd="/", bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def go_on(self, lines: int = 20) -> None:
        """Wait until so many more lines have come back."""
        assert self._process.stdout is not None
        self._discard()
        while lines > 0:
            assert select.select([self._process.stdout], [], [], _TALK_S)[0], f"{self._place}: silence"
            said = len(self._process.stdout.read(lines))
            assert said, f"{self._place}: {self._process.communicate()[1].decode()}"
            lines -= said

    def _discard(self) -> None:
        """Forget what has come until now: it says nothing about what comes after."""
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], 0)[0] and self._process.stdout.read(4096):
            pass

    def end(self) -> None:
        """Close the connection in order; every line must have come back."""
        _, said = self._process.communicate(timeout=_TALK_S)
        assert self._process.returncode == 0, f"{self._place}: {said.decode()}"

    def close(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.communicate()
