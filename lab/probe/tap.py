"""Writes what this host's own TCP stack says for a service, before anything else touches it, to a file.

Run in a host: ``python -m lab.probe.tap FILE ADDRESS...``. The packets come by rules for NFLOG in the table
raw, so a backup's are seen as well, which never leave it. Prints ``ready`` when it listens; SIGTERM ends it
when all that was said until then is in the file. Each packet stands behind its length (four bytes).
"""

from __future__ import annotations

import contextlib
import errno
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GROUP = 4077
_NETLINK_NETFILTER = 12
_SO_RCVBUFFORCE = 33
_BUFFER = 256 << 20
_CONFIG = 4 << 8 | 1
_PACKET = 4 << 8
_BIND, _MODE, _THRESHOLD = (1, b"\x01"), (2, struct.pack("!IBx", 0xFFFF, 2)), (5, struct.pack("!I", 1))
_PAYLOAD = 9
_REQUEST = 1
LENGTH = struct.Struct("!I")


def rules(addresses: list[str]) -> None:
    """Let what this host says from the addresses by TCP be copied to the group."""
    for address in addresses:
        tool = "ip6tables" if ":" in address else "iptables"
        rule = ["-I", "OUTPUT", "-s", address, "-p", "tcp", "-j", "NFLOG", "--nflog-group", str(GROUP)]
        subprocess.run([tool, "-w", "-t", "raw", *rule], check=True)


def listen() -> socket.socket:
    """Open the group; whole packets, each at once."""
    log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    try:
        log.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:  # in a user namespace: as much as net.core.rmem_max allows
        log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    for kind, value in (_BIND, _MODE, _THRESHOLD):
        attribute = struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, GROUP) + attribute
        log.send(struct.pack("=IHHII", 16 + len(body), _CONFIG, _REQUEST, 0, 0) + body)
    return log


def payloads(message: bytes) -> Iterator[bytes]:
    """The packets in what the kernel sent."""
    while len(message) >= 16:
        length, kind = struct.unpack_from("=IH", message)
        if length < 16:
            return
        at = 20
        while kind == _PACKET and at + 4 <= length:
            size, attribute = struct.unpack_from("=HH", message, at)
            if attribute & 0x3FFF == _PAYLOAD:
                yield message[at + 4 : at + size]
            at += max(size + 3 & ~3, 4)
        message = message[length + 3 & ~3 :]


def copy(log: socket.socket, wake: int, file: BinaryIO) -> None:
    """Write packets to the file until `wake` can be read and nothing waits."""
    ended = False
    while True:
        watched = [log.fileno()] if ended else [log.fileno(), wake]
        readable = select.select(watched, [], [], 0 if ended else None)[0]
        ended |= wake in readable
        if log.fileno() not in readable:
            if ended:
                return
            continue
        try:
            message = log.recv(1 << 18)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            print("lost: more was said than could be taken", file=sys.stderr, flush=True)
            continue
        for packet in payloads(message):
            file.write(LENGTH.pack(len(packet)) + packet)
        file.flush()


def main() -> None:
    """The program."""
    wake, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for who started this
    with contextlib.closing(listen()) as log, Path(sys.argv[1]).open("wb") as file:
        rules(sys.argv[2:])
        print("ready", flush=True)
        copy(log, wake.fileno(), file)


if __name__ == "__main__":
    main()
