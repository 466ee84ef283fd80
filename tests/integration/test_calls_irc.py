"""An IRC server in two copies, joined by a log of calls: what users hear of each other is equal."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fttcp.server import calls
from tests.integration.test_calls_threads import alike, talk_at_once, two_of
from tests.unit.test_calls import ACCEPT, EVENTS, READ

SETTINGS = """[Global]
Name = irc.example.net
AdminEMail = admin@example.net
Info = chat
Listen = 127.0.0.1
Ports = {port}
ServerUID = root
ServerGID = root
[Limits]
MaxConnectionsIP = 0
[Options]
DNS = no
Ident = no
PAM = no
"""


USERS = 4


def chat(client: socket.socket, number: int) -> None:
    """Enter a channel; when all are there, say something with them; hear what they say, in its order."""
    with client.makefile("rb") as heard:
        client.sendall(f"NICK user{number}\r\nUSER user{number} 0 * :A user\r\nJOIN #talk\r\n".encode())
        there: set[bytes] = set()
        said = 0
        while said < 3 * (USERS - 1):
            line = heard.readline()
            assert line, "the server has ended it"
            words = line.split()
            if words[0] == b"PING":
                client.sendall(b"PONG " + words[1] + b"\r\n")
            before = len(there)
            if words[1] == b"JOIN":
                there.add(words[0][1:].split(b"!")[0])
            elif words[1] == b"353":
                there.update(word.strip(b":@") for word in words[5:])
            if before < USERS <= len(there):
                client.sendall(b"".join(b"PRIVMSG #talk :%d of %d\r\n" % (i, number) for i in range(3)))
            said += words[1] == b"PRIVMSG"
        client.sendall(b"TIME\r\nQUIT :bye\r\n")
        while heard.readline():
            pass


@pytest.mark.parametrize(
    ("families", "equal"), [(calls.ALL, True), (calls.ALL & ~(EVENTS | READ | ACCEPT), False)]
)
def test_users_of_a_channel(families: int, equal: bool, tmp_path: Path) -> None:
    def server(port: int) -> list[str]:
        settings = tmp_path / f"{port}.conf"
        settings.write_text(SETTINGS.format(port=port))
        return ["ngircd", "--nodaemon", "--config", str(settings)]

    with two_of(server, tmp_path, families) as (copies, relay):
        talk_at_once(relay.port, USERS, chat)
        told = copies.told
    assert (alike(relay) and told["state"] == "runs") is equal, calls.sentence(told)
