"""Clients of servers that end TLS and SSH tell right bytes, resets, early ends and wrong bytes apart."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import keys
from lab.workloads import ssh, tls
from lab.workloads.base import Session, run
from lab.workloads.ramp import Ramp
from lab.workloads.servers.launch import CONTENT_SEED

Answer = Callable[[ssl.SSLSocket, bytes], None]


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def right(sock: ssl.SSLSocket, request: bytes) -> None:
    """Answer as nginx would."""
    first, last = (int(n) for n in request.split(b"bytes=")[1].split()[0].split(b"-"))
    body = Ramp(CONTENT_SEED).span(first, last - first + 1)
    sock.sendall(b"HTTP/1.1 206 x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def torn(sock: ssl.SSLSocket, request: bytes) -> None:
    """Answer by bytes that are no record of this connection."""
    with socket.socket(fileno=sock.detach()) as plain:
        plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(4096):
            pass


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[list[Answer]], int]:
    """A TLS server on a loopback port, whose connections end in turn by these answers; the last one stays."""

    def start(answers: list[Answer]) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (tmp_path / "key").write_text(keys.TLS_KEY + keys.TLS_CERTIFICATE)
        context.load_cert_chain(tmp_path / "key")
        listener = socket.create_server(("127.0.0.1", 0))

        def talk() -> None:
            number = 0
            with listener:
                while True:
                    with contextlib.suppress(OSError), listener.accept()[0] as plain:
                        sock = context.wrap_socket(plain, server_side=True)
                        while request := sock.recv(4096):
                            answer = answers[min(number, len(answers) - 1)]
                            number += 1
                            answer(sock, request)

        threading.Thread(target=talk, daemon=True).start()
        return int(listener.getsockname()[1])

    return start


@pytest.mark.parametrize(
    ("answers", "kind", "resets"),
    [
        ([right], "", 0),
        ([right, lambda sock, _: reset(sock), right], "", 1),
        ([right, lambda sock, _: reset(sock)], "reset", tls.MOST_RESETS),
        ([right, lambda sock, _: sock.close()], "closed", 0),
        ([right, torn], "wrong", 0),
        ([right, lambda sock, request: right(sock, request.replace(b"-", b"0-"))], "wrong", 0),
    ],
)
def test_a_client_of_https(
    serve: Callable[[list[Answer]], int], answers: list[Answer], kind: str, resets: int
) -> None:
    """A reset is counted, and the client connects anew, but not for ever; all else is a failure."""
    session = Session("127.0.0.1", serve(answers), seed=3, duration_s=0.2, bound_s=2.0)
    result = run(session, tls.keepalive(ssl.TLSVersion.TLSv1_3))
    assert (result.kind, result.resets) == (kind, resets), result.why


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("client_loop: send disconnect: Broken pipe", "reset"),
        ("Read from remote host 10.0.0.1: Connection reset by peer", "reset"),
        ("Connection to 10.0.0.1 closed by remote host.", "closed"),
        ("Corrupted MAC on input.", "wrong"),
        ("Bad packet length 1234.", "wrong"),
        ("bash: line 1: nothing: command not found", "answer"),
    ],
)
def test_a_client_of_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: str) -> None:
    """What ssh says of its end decides; the first reset is not the last word."""
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\necho ready\necho '{said}' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run(Session("127.0.0.1", 22, seed=3, duration_s=0.2, bound_s=2.0), ssh.down)
    assert (result.kind, result.resets) == (kind, tls.MOST_RESETS if kind == "reset" else 0)
    assert said in result.why
