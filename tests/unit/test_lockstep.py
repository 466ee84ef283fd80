"""The memory that servers and engines share, the library in a real process, and what people are told."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fttcp.cli.lockstep import lines
from fttcp.config import load
from fttcp.group import lockstep
from fttcp.group.secrets import Secrets
from fttcp.node.assembly import engine_settings
from fttcp.wire.keyfile import KeyRing
from lab.hosts import Process
from tests.unit.test_config import GOOD

_DRAWER = """
import ctypes, json, os, socket, ssl, sys, time

gnutls = ctypes.CDLL("libgnutls.so.30")
class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_uint)]

def key():
    made = Datum()
    assert gnutls.gnutls_key_generate(ctypes.byref(made), 8) == 0
    return ctypes.string_at(made.data, made.size).hex()

def drawn():
    for length in range(10, 10 + int(sys.argv[3])):
        ssl.RAND_bytes(length)
    return [ssl.RAND_bytes(8).hex(), ssl.RAND_bytes(8).hex(), key()]

def grown():
    return [os.getrandom(8).hex(), os.urandom(8).hex()]

def aside(work):
    answer, theirs = os.pipe()
    if os.fork() == 0:
        os.dup2(theirs, 1)
        work()
        os._exit(0)
    os.close(theirs)
    os.wait()
    with open(answer) as told:
        return json.load(told)

def say():
    print(json.dumps(grown()), flush=True)

def execute():
    code = "import json, os; print(json.dumps([os.getrandom(8).hex()]))"
    os.execv(sys.executable, [sys.executable, "-c", code])

listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
print(flush=True)
before = grown()
told, clocks, kernel = [], [], []
for _ in range(int(sys.argv[1])):
    connection, _ = listener.accept()
    connection.recv(1)
    connection.set_inheritable(True)
    told.append({"child": aside(say), "own": drawn(), "program": aside(execute), "again": drawn()})
    kernel += grown()
    clocks.append([time.time_ns(), time.clock_gettime_ns(time.CLOCK_REALTIME)])
    connection.close()
print(json.dumps({"clocks": clocks, "before": before, "kernel": kernel, "connections": told}), flush=True)
"""


def speak_from(own: int, port: int) -> None:
    """Send a server one byte, wait for its answer or end, and reset: so our port can come again at once."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.bind(("127.0.0.1", own))
        client.connect(("127.0.0.1", port))
        client.send(b"x")
        with contextlib.suppress(ConnectionResetError):
            client.recv(1)


def draw(file: Path, port: int, ports: Sequence[int], aside: int = 0) -> dict[str, Any]:
    """Have a server on ``port`` with the library answer clients of these ports (0: any); ``aside``: of so
    many other lengths it draws, too."""
    server = subprocess.Popen(
        [sys.executable, "-c", _DRAWER, str(len(ports)), str(port), str(aside)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0", **lockstep.environment(file)},
    )
    assert server.stdout is not None
    with server:
        assert server.stdout.readline() == "\n"
        for own in ports:
            speak_from(own, port)
        return dict(json.loads(server.stdout.read()))


_EPOLL = """
import select, socket, sys, time

with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(flush=True)
    connections = {one.fileno(): one for one in (listener.accept()[0] for _ in range(3))}
waiting = select.epoll()
for one in connections:
    waiting.register(one, select.EPOLLIN | select.EPOLLET)
left = set(connections)
while left:  # all are ready
    left -= set(select.select(list(left), [], [])[0])
told = []
while len(told) < 3:
    ready = [one for one, _ in waiting.poll()]
    told.append([len(ready), time.time_ns()])
    connections[ready[0]].recv(1)
print(told)
"""


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """One file for each of two copies."""
    first, second = tmp_path / "a.lockstep", tmp_path / "b.lockstep"
    lockstep.make_for_comparison(first)
    second.write_bytes(first.read_bytes())
    return [first, second]


def numbers(told: dict[str, Any]) -> list[str]:
    """All that was drawn for connections."""
    return [one for each in told["connections"] for part in each.values() for one in part]


def test_copies_draw_the_same_for_each_connection_and_nothing_twice(files: list[Path]) -> None:
    """Also in children, in programs that are executed, and for a client's port that comes again at once."""
    served, again, other = free_port(), free_port(), free_port()
    first, second = (draw(file, served, [again, again, other]) for file in files)
    assert first["connections"] == second["connections"]
    assert len(set(numbers(first))) == len(numbers(first)) == 3 * 9
    (made_ns,) = struct.unpack_from("<q", files[0].read_bytes(), 56)
    assert first["clocks"] == second["clocks"] == [[made_ns, made_ns]] * 3
    assert first["before"] != second["before"], "what a generator grows from is no copy's"
    kernel = {*first["kernel"], *second["kernel"]}
    assert len(kernel) == 2 * 3 * 2, "... nor one connection's, where there are others"
    for file in files:
        told = lockstep.shown(file, [os.getpid()])
        assert (told["drawn"]["accepted"], told["drawn"]["unknown"]) == (3, 0)
        assert told["outside"] == [os.getpid()]


def test_what_one_copy_draws_besides_displaces_nothing_of_another_length(files: list[Path]) -> None:
    """OpenSSL draws the blinding of a key in the first connection that comes, which may be another one."""
    served, again = free_port(), free_port()
    first, second = (
        draw(file, served, [again] * 2, aside) for file, aside in zip(files, (0, 12), strict=True)
    )
    assert first["connections"] == second["connections"]


def test_a_server_that_waits_for_many_is_told_of_one_at_a_time(files: list[Path]) -> None:
    """And the clock is that one's already, before it has read; of edges none is lost."""
    port = free_port()
    with Process(
        [sys.executable, "-c", _EPOLL, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **lockstep.environment(files[0])},
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for client in clients:
            client.send(b"x")
        told = json.loads(server.stdout.read())
        for client in clients:
            client.close()
    (made_ns,) = struct.unpack_from("<q", files[0].read_bytes(), 56)
    assert told == [[1, made_ns]] * 3


_KEEPER = """
import ctypes, socket, sys

seconds = ctypes.c_int64.in_dll(ctypes.CDLL(None), "log_epoch_secs")
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(flush=True)
    connection = listener.accept()[0]
    told = [seconds.value]
    seconds.value = 7  # as of another connection
    connection.recv(1)
    print([*told, seconds.value])
"""


def test_a_server_that_keeps_the_time_for_all_has_that_of_the_connection(
    files: list[Path], tmp_path: Path
) -> None:
    """lighttpd looks at the clock once in a second, and shows what it has kept."""
    (tmp_path / "kept.c").write_text("long long log_epoch_secs = 7, log_monotonic_secs = 7;\n")
    library = tmp_path / "kept.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "kept.c"], check=True)
    port = free_port()
    with Process(
        [sys.executable, "-c", _KEEPER, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **lockstep.environment(files[0], {"LD_PRELOAD": str(library)})},
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        speak_from(0, port)
        told = json.loads(server.stdout.read())
    (made_ns,) = struct.unpack_from("<q", files[0].read_bytes(), 56)
    assert told == [made_ns // 10**9] * 2


_SPAWNER = """
import ctypes, json, os, socket, ssl, subprocess, sys

library = ctypes.CDLL(None)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
connection, _ = listener.accept()
connection.recv(1)
at, other = connection.fileno(), os.open("/dev/null", os.O_RDONLY)

def spawn():
    closes = [(os.POSIX_SPAWN_CLOSE, at), (os.POSIX_SPAWN_DUP2, other, at)]
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}, file_actions=closes), 0)

def by_vfork(name):
    child = getattr(library, name)()
    if child == 0:
        library.close(at)
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)

told = []
starts = [spawn, lambda: subprocess.run(["/bin/true"])]
starts += [lambda: by_vfork("vfork"), lambda: by_vfork("__vfork")]
for start in starts:
    start()
    connection.recv(1)
    told.append(ssl.RAND_bytes(8).hex())
print(json.dumps(told))
"""


def test_programs_that_it_starts_change_nothing_for_its_connections(files: list[Path]) -> None:
    """A child of posix_spawn or vfork() shares the memory in which the library knows its descriptors."""
    told = []
    for file in files:
        port = free_port()
        argv = [sys.executable, "-c", _SPAWNER, str(port)]
        environment = {**os.environ, **lockstep.environment(file)}
        with Process(argv, stdout=subprocess.PIPE, text=True, env=environment) as server:
            assert server.stdout is not None
            server.stdout.readline()
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.bind(("127.0.0.1", 0))
                client.connect(("127.0.0.1", port))
                client.sendall(b"x" * 5)
                told.append(json.loads(server.stdout.read()))
        assert lockstep.shown(file, [])["drawn"]["of_connections"] >= 4
    assert all(len(set(each)) == 4 for each in told)


def test_a_connection_without_identity_draws_from_the_kernel_and_is_told(tmp_path: Path) -> None:
    """No engine wrote its row: the memory is of another group, say."""
    told = []
    for name in ("a", "b"):
        file = tmp_path / f"{name}.lockstep"
        lockstep.make(file, bytes(32), 1, 1024, 0, 0o600)
        told.append(draw(file, free_port(), [0]))
        shown = lockstep.shown(file, [])
        assert shown["drawn"]["unknown"] == len(shown["strangers"]) == 1
        assert shown["strangers"][0]["client"].startswith("127.0.0.1:")
        assert any("no identity" in line for line in lines(shown | {"identities": 1}))
    assert not set(numbers(told[0])) & set(numbers(told[1]))


def test_without_the_memory_a_server_runs_as_ever(tmp_path: Path) -> None:
    """The library is there, and its file is not, or is something else."""
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"x" * 10000)
    for file in (tmp_path / "missing", wrong, tmp_path):
        assert draw(file, free_port(), [0])["connections"]


def test_the_memory_is_its_owners_and_is_kept_while_servers_have_it(tmp_path: Path) -> None:
    """A daemon that starts again takes the file that is there; one of another shape is replaced."""
    file = tmp_path / "web.lockstep"
    lockstep.make(file, b"a" * 32, 2, 1024, 0, 0o600)
    before = file.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600
    assert before.st_size == 4096 + 2 * 1024 * (512 + 32) + 32
    assert before.st_blocks * 512 >= before.st_size, "there is room for all of it"
    lockstep.make(file, b"b" * 32, 2, 1024, 0, 0o640)
    assert (file.stat().st_ino, stat.S_IMODE(file.stat().st_mode)) == (before.st_ino, 0o640)
    assert b"b" * 32 in file.read_bytes()[4096 + 2 * 1024 * 512 :]
    lockstep.make(file, b"b" * 32, 1, 1024, 0, 0o600)
    assert file.stat().st_ino != before.st_ino
    with pytest.raises(lockstep.LockstepError, match="No such file"):
        lockstep.make(tmp_path / "none" / "x.lockstep", bytes(32), 1, 1024, 0, 0o600)


def test_a_file_that_was_cut_short_is_as_one_that_is_gone(tmp_path: Path) -> None:
    """Its server may do that."""
    file = tmp_path / "web.lockstep"
    for size in (0, 50, 4095):
        file.write_bytes(b"x" * size)
        assert lockstep.shown(file, [])["drawn"] is None
        lockstep.make(file, bytes(32), 1, 1024, 0, 0o600)
        assert lockstep.shown(file, [])["drawn"] is not None


def secret_of(file: Path) -> bytes:
    """What servers draw from before they serve: behind all rows."""
    tables, rows = struct.unpack_from("<II", file.read_bytes(), 12)
    return file.read_bytes()[4096 + tables * rows * 512 :][:32]


def test_secrets_go_with_what_they_were_for(tmp_path: Path) -> None:
    """From the file that another one replaces, and with lock step; servers follow an exchange of keys."""
    text = GOOD.replace("[node]", f'[node]\nrun_dir = "{tmp_path}"', 1)
    (tmp_path / "on.toml").write_text(text + 'lockstep = "connection"')
    (tmp_path / "off.toml").write_text(text)
    on, off = load(tmp_path / "on.toml"), load(tmp_path / "off.toml")
    file = lockstep.place(on, on.group[0])
    assert file is not None and file.parent == tmp_path
    first, second = KeyRing((b"1" * 32,)), KeyRing((b"2" * 32,))
    lockstep.change_keys(on, first)
    assert not file.exists()
    lockstep.prepare(on, on.group[0], first)
    before = secret_of(file)
    lockstep.change_keys(on, second)
    secret = secret_of(file)
    assert secret != before
    with file.open("r+b", buffering=0) as held:
        held.seek(9000)
        held.write(b"a seed")
        lockstep.make(file, bytes(32), 1, 1024, 0, 0o600)  # of another shape
        held.seek(0)
        old = held.read()
        assert b"a seed" not in old and secret not in old
        assert len(old) == os.fstat(held.fileno()).st_size > 9000, "servers have it mapped"
    with file.open("r+b", buffering=0) as held:
        held.seek(9000)
        held.write(b"a seed")
        lockstep.prepare(off, off.group[0], first)
        held.seek(0)
        assert b"a seed" not in held.read()
    assert not file.exists()


def test_a_group_that_is_gone_leaves_no_secret(tmp_path: Path) -> None:
    """Its file goes, also from what a server of it still has mapped; others' files stay."""
    text = GOOD.replace("[node]", f'[node]\nrun_dir = "{tmp_path}"', 1)
    (tmp_path / "node.toml").write_text(text + 'lockstep = "connection"')
    config = load(tmp_path / "node.toml")
    kept, gone = lockstep.place(config, config.group[0]), tmp_path / "gone.lockstep"
    assert kept is not None
    for file in (kept, gone):
        lockstep.make(file, b"a secret" * 4, 1, 1024, 0, 0o600)
    with gone.open("rb", buffering=0) as held:
        lockstep.remove_others(config)
        assert b"a secret" not in held.read()
    assert not gone.exists() and b"a secret" in kept.read_bytes()


def test_others_that_are_preloaded_stay() -> None:
    """An allocator, say."""
    assert lockstep.environment(Path("/x"), {})["LD_PRELOAD"] == str(lockstep.LIBRARY)
    assert lockstep.environment(Path("/x"), {"LD_PRELOAD": "a.so"})["LD_PRELOAD"].split()[1:] == ["a.so"]


def test_people_are_told_who_is_not_in_step() -> None:
    """A server that was started without the library; memory that somebody removed."""
    drawn = {"of_connections": 5, "at_start": 4, "without": 3, "accepted": 2, "unknown": 0, "outward": 0}
    told: dict[str, Any] = {
        "file": "/run/x", "inside": [7], "outside": [], "hidden": [], "drawn": drawn, "strangers": [],
        "identities": 2,
    }  # fmt: skip
    assert lines(told) == [
        "lock step    in 1 processes; 5 draws for connections, 4 before the first, 3 for none"
    ]
    assert any("is not in 9" in line for line in lines(told | {"outside": [9]}))
    (line,) = lines(told | {"inside": [], "hidden": [8, 9]})
    assert "in 0 processes (2 of other users cannot be looked at); 5 draws" in line
    assert any("is not in any" in line for line in lines(told | {"inside": []}))
    assert "is gone" in lines(told | {"drawn": None})[0]
    unseen = told | {"drawn": drawn | {"accepted": 0, "of_connections": 0}}
    assert any("2 connections came" in line for line in lines(unseen))
    assert not any("came" in line for line in lines(unseen | {"identities": 0}))
    apart = {"from": "10.0.0.1:5000", "to": "10.0.0.9:25", "pid": 7}
    gone = told | {"drawn": drawn | {"outward": 3}, "outward": [apart]}
    assert "3 connections" in lines(gone)[-1] and "from 10.0.0.1:5000 to 10.0.0.9:25" in lines(gone)[-1]


def test_what_is_kept_in_step_is_compared_strictly_and_its_ends_are_waited_for(tmp_path: Path) -> None:
    """Whatever the file says of differences, for what is encrypted must be equal."""
    file = tmp_path / "node.toml"
    for text, strict, grace_ms in (
        ("", False, 200),
        ('lockstep = "connection"', True, 2000),
        ('lockstep = "connection"\ntiming = { end_grace_ms = 5000 }', True, 5000),
    ):
        file.write_text(GOOD + text)
        config = load(file)
        settings = engine_settings(config, config.group[0], Secrets(KeyRing((bytes(32),))))
        assert settings.detach_divergent is strict
        assert settings.end_grace_ns == grace_ms * 1_000_000
        assert bool(settings.lockstep) is strict
