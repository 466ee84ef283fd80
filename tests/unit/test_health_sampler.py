"""Whose sockets count when a server's ports are looked at."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from fttcp.health.sampler import Sampler, bound

SERVER = """
import socket, sys
kind, port, interface = sys.argv[1], int(sys.argv[2]), sys.argv[3]
stream = kind == "tcp"
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
if interface:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
server.bind(("127.0.0.2", port))
if stream:
    server.listen()
print("serves", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("interface", ["", "lo"])
def test_only_the_servers_own_sockets_are_bound_to_an_interface(proto: str, interface: str) -> None:
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        stranger.bind(("127.0.0.1", 0))
        if proto == "tcp":
            stranger.listen()
        port = stranger.getsockname()[1]
        command = [sys.executable, "-c", SERVER, proto, str(port), interface]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout and server.stdout.readline() == "serves\n"
            sampler = Sampler([(port, proto)])
            missing, listeners = sampler.not_served([server.pid])
            sampler.close()
        assert (missing, len(listeners)) == ("", 1)
        assert bound(listeners) == ([f"{port}/{proto} to lo"] if interface else [])
