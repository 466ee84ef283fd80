"""TLS and SSH that unmodified servers end themselves go on when their host dies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.workloads.registry import ROOT
from tests.integration.in_step import Place, place_of
from tests.integration.lockstep_servers import HTTPS, SERVICE, SIZE, curl, prepare, specs, ssh

TLS = {
    "tls1.3": ("--tlsv1.3",),
    "tls1.3-chacha20": ("--tlsv1.3", "--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"),
    "tls1.2": ("--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256"),
    "tls1.2-ecdsa": ("--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"),
}
FAULTS = ("crash-host", "kill-server", "switchover")


@pytest.fixture(scope="module")
def module_place() -> Iterator[Place]:
    """Made once."""
    yield from place_of("lockstep", prepare, specs)


@pytest.fixture
def place(module_place: Place) -> Place:
    """In step again."""
    return module_place.mended()


def goes_on(place: Place, argv: list[str], fault: str) -> None:
    """Have a client pass on what it is given, and stop reading in the middle while the pair is disturbed;
    nothing is missing or wrong."""
    with place.lab.popen("client", argv, stdout=subprocess.PIPE) as client:
        got = client.stdout.read(SIZE // 4)
        primary = place.lab.node_in_role("primary")
        assert place.told(primary)["flows"]["protected"] == 1, place.connections(primary)
        make_fault(place.lab, fault)
        got += client.stdout.read()
    assert client.returncode == 0
    assert got == (place.home / "files" / "file").read_bytes()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tls", TLS)
def test_a_download_over_https_goes_on(place: Place, tls: str, fault: str) -> None:
    """nginx with master and worker, and addresses at random, as Debian has it."""
    goes_on(place, curl(*TLS[tls]), fault)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_over_ssh_goes_on(place: Place, fault: str) -> None:
    """OpenSSH, which executes itself anew for each connection, and locks itself into a sandbox."""
    goes_on(place, ssh(place.home, f"cat {place.home}/files/file"), fault)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_resumed_after_a_takeover(place: Place, version: str) -> None:
    """The other server knows the tickets of the one that died, and so does one that has just started."""
    tickets = place.home / f"session{version}"
    address = ["-connect", f"{SERVICE}:{HTTPS}", version, "-ign_eof"]

    def ask(*options: str) -> str:
        words = ["openssl", "s_client", *address, *options]
        done = place.lab.exec("client", words, input="GET /hello HTTP/1.0\r\n\r\n")
        assert "hello" in done.stdout, done.stdout + done.stderr
        return done.stdout

    assert "New, TLS" in ask("-sess_out", str(tickets))
    for _ in range(2):
        make_fault(place.lab, "crash-host")
        experiment.mend(place.lab)
        primary = place.lab.node_in_role("primary")
        before = place.told(primary)["divergences"]  # of sessions of SSH that it has caught up with, perhaps
        assert "Reused, TLS" in ask("-sess_in", str(tickets))
        assert place.told(primary)["divergences"] == before, place.connections(primary)


def test_nothing_is_drawn_twice(place: Place) -> None:
    """Of 10,000 connections, the same ports and words of a client each time, before and after takeovers
    and the restart of both servers; and both servers drew the same."""
    drawn: list[list[str]] = []
    for disturb in (None, "kill-server", "crash-host"):
        if disturb is not None:
            make_fault(place.lab, disturb)
            experiment.mend(place.lab)
        argv = [sys.executable, str(ROOT / "tests/integration/hello_client.py"), SERVICE, str(HTTPS), "3400"]
        done = place.lab.exec("client", argv)
        assert done.returncode == 0, done.stderr
        drawn += json.loads(done.stdout)
        told = place.told(place.lab.node_in_role("primary"))
        assert told["divergences"] == 0
    for what in zip(*drawn, strict=True):
        assert len(set(what)) == len(what) > 10_000


def test_status_tells_of_the_library(place: Place) -> None:
    """On both nodes, in each main process; each connection had an identity."""
    done: subprocess.CompletedProcess[str] = place.lab.exec("client", curl(path="hello"))
    assert done.stdout == "hello\n"
    for node in ("alpha", "beta"):
        told = place.told(node)["lockstep"]
        assert told["outside"] == [] and len(told["inside"]) >= 3
        assert told["drawn"]["unknown"] == 0 and told["strangers"] == []
        await_condition(
            lambda node=node: place.told(node)["lockstep"]["drawn"]["of_connections"] > 0,  # type: ignore[misc]
            30,
            f"{node} to have drawn for the connection",
        )


_SEEDS = """
import pathlib, struct, sys
memory = pathlib.Path(sys.argv[1]).read_bytes()
tables, rows = struct.unpack_from("<II", memory, 12)
seeds = memory[-32 * tables * rows :]
print(sum(any(seeds[at : at + 32]) for at in range(0, len(seeds), 32)))
"""


def seeds_of(place: Place, node: str) -> int:
    """How many connections a node's servers have seeds of."""
    argv = [sys.executable, "-c", _SEEDS, place.told(node)["lockstep"]["file"]]
    return int(place.lab.exec(node, argv).stdout)


def test_a_seed_is_gone_when_both_ends_have_ended(place: Place) -> None:
    """The nodes remember the connection for as long as its port is not used again."""
    before = {node: seeds_of(place, node) for node in ("alpha", "beta")}
    for _ in range(3):
        assert place.lab.exec("client", curl(path="hello")).stdout == "hello\n"
    for node, there in before.items():
        await_condition(lambda node=node, there=there: seeds_of(place, node) <= there, 20, f"{node}'s seeds")  # type: ignore[misc]


_LOOK = """
import pathlib, socket, sys, time
with socket.create_connection((sys.argv[1], 22)) as client:
    client.recv(64)
    client.sendall(b"SSH-2.0-x\\r\\n")
    client.recv(64)
    print(flush=True)
    sys.stdin.read()
"""


def secrets_of(place: Place, node: str) -> dict[str, bool]:
    """Of each sshd that has the memory: does it have the secrets, which are the file's last part?"""
    file = place.told(node)["lockstep"]["file"]
    script = f"grep -H ' {file}$' /proc/[0-9]*/maps; grep -H ^sshd /proc/[0-9]*/comm; stat -c %s {file}"
    *found, size = place.lab.exec(node, ["sh", "-c", script]).stdout.splitlines()
    daemons = {line.split("/")[2] for line in found if "/comm:" in line}
    ends: dict[str, int] = {}
    for line in found:
        pid, _, told = line.partition("/maps:")
        if told and (pid := pid.split("/")[2]) in daemons:
            begin, end = (int(one, 16) for one in told.split()[0].split("-"))
            ends[pid] = max(ends.get(pid, 0), int(told.split()[2], 16) + end - begin)
    return {pid: end >= int(size) for pid, end in ends.items()}


def test_a_process_of_one_connection_has_no_others_seeds(place: Place) -> None:
    """An sshd that talks to somebody who has not logged in, with its child in the sandbox."""
    argv = [sys.executable, "-c", _LOOK, SERVICE]
    with place.lab.popen("client", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"\n"
        for node in ("alpha", "beta"):
            await_condition(lambda node=node: len(secrets_of(place, node)) == 3, 30, f"{node}'s sshd")  # type: ignore[misc]
            told = secrets_of(place, node)
            assert sorted(told.values()) == [False, False, True], told
        client.stdin.close()
