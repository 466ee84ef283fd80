"""The client of many addresses, run by its path in its host: ``addresses.py PORT ADDRESS...``.

Opens a connection to each address and has one line echoed. Then it sends each an ICMP echo request every
PERIOD_S, so the host that has the address answers, whatever serves there. The end of stdin ends that. Then it
asks once more on each connection, for PATIENCE_S at most.

Writes ``started`` on stderr when all have answered, and one JSON object on stdout at the end: ``arrivals_s``
(when answers came, by address: CLOCK_MONOTONIC) and ``kept`` (addresses whose connection goes on).
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time

PERIOD_S = 0.005
PATIENCE_S = 3.0
LINE = b"hello\n"
ECHO_REQUEST, ECHO_REPLY = 8, 0
NUMBER = 0x7774
"""Of the requests: replies bear it as well."""


def request() -> bytes:
    """An ICMP echo request (RFC 792) with its checksum (RFC 1071)."""
    words = (ECHO_REQUEST << 8, NUMBER, 0)
    total = sum(words)
    return struct.pack("!HHHH", words[0], ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF, *words[1:])


def echoed(sock: socket.socket) -> bool:
    """Whether a line comes back."""
    try:
        sock.sendall(LINE)
        answer = b""
        while len(answer) < len(LINE):
            part = sock.recv(len(LINE) - len(answer))
            if not part:
                return False
            answer += part
    except OSError:
        return False
    return answer == LINE


def ask(addresses: list[str]) -> dict[str, list[float]]:
    """Send echo requests until stdin ends; return when each address has answered."""
    arrivals: dict[str, list[float]] = {address: [] for address in addresses}
    packet, next_s = request(), time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.setblocking(False)
        while True:
            readable, _, _ = select.select([sock, sys.stdin], [], [], max(0.0, next_s - time.monotonic()))
            if sys.stdin in readable:
                return arrivals
            while sock in readable:
                try:
                    data, (source, _) = sock.recvfrom(256)
                except BlockingIOError:
                    break
                at = 4 * (data[0] & 15)
                kind, number = data[at], int.from_bytes(data[at + 4 : at + 6], "big")
                if kind == ECHO_REPLY and number == NUMBER and source in arrivals:
                    arrivals[source].append(time.monotonic())
            if time.monotonic() >= next_s:
                next_s = max(next_s + PERIOD_S, time.monotonic())
                for address in addresses:
                    try:
                        sock.sendto(packet, (address, 0))
                    except OSError:  # nobody answers ARP: told for an earlier request
                        continue


def main() -> None:
    """Run once and report."""
    port, *addresses = sys.argv[1:]
    connections = {address: socket.create_connection((address, int(port)), 10.0) for address in addresses}
    if not all(echoed(sock) for sock in connections.values()):
        sys.exit("a server does not echo")
    print("started", file=sys.stderr, flush=True)
    arrivals = ask(addresses)
    end_s = time.monotonic() + PATIENCE_S
    kept = []
    for address, sock in connections.items():
        sock.settimeout(max(0.01, end_s - time.monotonic()))
        if echoed(sock):
            kept.append(address)
    print(json.dumps({"arrivals_s": arrivals, "kept": kept}))


if __name__ == "__main__":
    main()
