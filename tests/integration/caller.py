"""A client with a connection, which says a line when it is asked to."""

from __future__ import annotations

import subprocess
import sys

from lab.lifecycle import Lab
from lab.network import SERVICE4

CALLER = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7))
for line in sys.stdin:
    try:
        s.sendall(line.encode())
        print(s.recv(100).decode(), end="", flush=True)
    except ConnectionResetError:
        print("reset", flush=True)
        break
"""


class Caller:
    """A client with a connection, which says a line when it is asked to."""

    def __init__(self, lab: Lab) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = lab.popen("client", [sys.executable, "-c", CALLER, SERVICE4], **pipes)

    def __enter__(self) -> Caller:
        assert self.says("hello")
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def says(self, word: str) -> bool:
        """True if the server answers; False if the connection was reset."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer in (word + "\n", "reset\n")
        return answer != "reset\n"

    def end(self) -> None:
        """Close the connection."""
        self._process.communicate()
