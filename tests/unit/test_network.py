"""The network side of a node while others change the host, and with files that are none of its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from fttcp.datapath import kernel, rtnetlink
from fttcp.datapath.ground import Ground
from fttcp.datapath.kernel import KernelError
from fttcp.datapath.network import NetworkSetup
from fttcp.datapath.record import Record
from fttcp.datapath.rtnetlink import Netlink
from tests.unit.test_rules import GROUP


def test_what_nobody_waits_for_any_more_ends_before_all_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a node a look may be at work: it would put back what has just been taken away."""
    monkeypatch.setattr(kernel, "netlink", lambda: nullcontext())
    looks, go, done = threading.Event(), threading.Event(), list[str]()

    def look(socket: Any, group: Any) -> Ground:
        looks.set()
        go.wait(10)
        done.append("mended")
        return Ground([], [], False)

    async def play() -> None:
        setup = NetworkSetup([GROUP], tmp_path)
        monkeypatch.setattr(setup, "_look", look)
        looking = asyncio.create_task(setup.ground("web"))
        await asyncio.to_thread(looks.wait, 10)
        looking.cancel()
        removing = asyncio.create_task(setup.remove())
        removing.add_done_callback(lambda _: done.append("removed"))
        for _ in range(10):  # turns of the loop
            looking.cancel()
            await asyncio.sleep(0)
        go.set()
        await removing
        await asyncio.gather(looking, return_exceptions=True)
        assert done == ["mended", "removed"] and looking.cancelled()

    asyncio.run(play())


def message(number: int, kind: int, flags: int, body: bytes = b"") -> bytes:
    """As the kernel sends it."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body


def answers(*rounds: tuple[int, list[bytes]]) -> list[bytes]:
    """Of each question the flags and the entries."""
    return [
        b"".join(message(number, 24, flags, entry) for entry in entries) + message(number, 3, flags, bytes(4))
        for number, (flags, entries) in enumerate(rounds, 1)
    ]


MULTI, INTERRUPTED = 2, 0x10


@pytest.mark.parametrize("times", [0, 1, 9])
def test_a_list_that_changed_while_it_was_made_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What was passed over in it would count as removed by somebody. Where that never ends, so be it."""
    kernel_says = answers(*[(MULTI | INTERRUPTED, [b"aaaa"])] * times, (MULTI, [b"aaaa", b"bbbb"]))

    class Kernel:
        asked = 0

        def send(self, data: bytes) -> None:
            self.asked += 1

        def recv(self, size: int) -> bytes:
            return kernel_says[self.asked - 1]

        def close(self) -> None:
            """Nothing is open."""

        def bind(self, address: Any) -> None:
            """Nor bound."""

        setsockopt = bind

    monkeypatch.setattr(socket, "socket", lambda *kind: Kernel())
    monkeypatch.setattr(Kernel, "setsockopt", lambda *option: None)
    found = Netlink().dump(rtnetlink.GETROUTE, b"")
    assert found == ([b"aaaa", b"bbbb"] if times < 5 else [b"aaaa"])


def test_an_interface_may_go_while_its_settings_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: True)
    assert kernel.read_sysctl(str(tmp_path / "gone")) == ""


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"place": "", "sysctls": [], "addresses": []}'])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "network.json").write_text(text)
    with pytest.raises(KernelError, match="not a record"):
        Record.load(tmp_path / "network.json")


def test_what_could_not_be_recorded_is_recorded_next_time(tmp_path: Path) -> None:
    setup, record = (
        NetworkSetup([GROUP], tmp_path / "run"),
        Record("here", addresses=frozenset({"10.77.0.100"})),
    )
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(OSError):
        setup._keep(record)
    assert setup._record is None
