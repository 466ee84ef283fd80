"""Says the same ClientHello on many connections, from few ports that come again at once, and tells what the
server drew for each: `python hello_client.py ADDRESS PORT COUNT`."""

from __future__ import annotations

import json
import socket
import ssl
import sys

PORTS = range(30000, 30050)
_HANDSHAKE, _SERVER_HELLO, _KEY_SHARE = 22, 2, 51


def client_hello() -> bytes:
    """One of TLS 1.3."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    written = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), written, server_hostname="lab").do_handshake()
    except ssl.SSLWantReadError:
        return written.read()
    raise AssertionError("a handshake without a server")


def drawn(hello: bytes) -> tuple[str, str, str]:
    """Return the random number and the public key of a ServerHello, and the beginning of what is encrypted
    behind it."""
    assert (hello[0], hello[5]) == (_HANDSHAKE, _SERVER_HELLO), hello[:16].hex()
    random, at = hello[11:43], 43
    at += 1 + hello[at] + 3
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    key = b""
    while at < end:
        kind, size = (int.from_bytes(hello[at + i : at + i + 2], "big") for i in (0, 2))
        if kind == _KEY_SHARE:
            key = hello[at + 8 : at + 4 + size]
        at += 4 + size
    assert len(key) == 32
    return random.hex(), key.hex(), hello[end + 6 : end + 6 + 64].hex()


def ask(address: str, port: int, own: int, hello: bytes) -> tuple[str, str, str]:
    """Have one connection begin, and end it by a RST."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.settimeout(20)
        client.bind(("", own))
        client.connect((address, port))
        client.sendall(hello)
        got = b""
        while len(got) < 300:
            part = client.recv(4096)
            assert part, "the server has closed"
            got += part
    return drawn(got)


def main(address: str, port: int, count: int) -> None:
    """Ask, and tell."""
    hello = client_hello()
    told = [ask(address, port, PORTS[i % len(PORTS)], hello) for i in range(count)]
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
