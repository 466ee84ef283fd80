"""The network side of a node while others change the host, and with files that are none of its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from fttcp.network import kernel, nft, rtnetlink
from fttcp.network.ground import Ground
from fttcp.network.kernel import KernelError
from fttcp.network.network import NetworkSetup
from fttcp.network.nft import Table
from fttcp.network.record import Record
from fttcp.network.rtnetlink import Netlink
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


def test_services_of_a_node_are_no_neighbours_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns them asks in their name, so the kernel has them; each of fifty would tell all others."""
    mail = replace(GROUP, name="mail", addresses=(ip_address("10.77.0.101"),))
    client = ip_address("10.77.0.10")
    known = dict.fromkeys((client, *GROUP.addresses, *mail.addresses), "02:00:00:00:00:0a")
    monkeypatch.setattr(kernel, "netlink", lambda: nullcontext())
    monkeypatch.setattr(kernel, "index_of", lambda _: 7)
    monkeypatch.setattr(kernel, "known_neighbours", lambda *_: known)
    setup = NetworkSetup([GROUP, mail], tmp_path)
    assert list(asyncio.run(setup.known_neighbours("web"))) == [client]


def message(number: int, kind: int, flags: int, body: bytes = b"") -> bytes:
    """As the kernel sends it."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body


MULTI, INTERRUPTED = 2, 0x10
RULE = struct.pack("=BBH", 2, 0, 0) + b"".join(rtnetlink.attribute(kind, b"x\0") for kind in (1, 2))


class Kernel:
    """Answers each question with the next of its answers."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers, self._waiting = answers, list[bytes]()

    def send(self, data: bytes) -> None:
        self._waiting += self._answers[:1]
        del self._answers[:1]

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self._waiting:
            raise BlockingIOError
        return self._waiting.pop(0)

    def close(self) -> None:
        """Nothing is open."""

    def bind(self, address: Any) -> None:
        """Nor bound."""

    def setsockopt(self, *option: Any) -> None:
        """Nor otherwise than as it is."""


def listed(number: int, flags: int, *entries: bytes) -> bytes:
    """A list, as the answer to a question."""
    return b"".join(message(number, 24, flags, entry) for entry in entries) + message(
        number, 3, flags, bytes(4)
    )


def said(times: int, entry: bytes, other: bytes) -> list[bytes]:
    """Lists that were interrupted, which lack something, and one that was not."""
    short = [listed(number, MULTI | INTERRUPTED, entry) for number in range(1, times + 1)]
    return [*short, listed(times + 1, MULTI, entry, other)]


@pytest.mark.parametrize("times", [0, 1, 9])
def test_a_list_that_changed_while_it_was_made_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What was passed over in it would count as removed by somebody. Where that never ends, so be it."""
    monkeypatch.setattr(socket, "socket", lambda *kind: Kernel(said(times, b"aaaa", b"bbbb")))
    whole = times < 5
    assert Netlink().dump(rtnetlink.GETROUTE, b"") == ([b"aaaa", b"bbbb"] if whole else [b"aaaa"])
    monkeypatch.setattr(socket, "socket", lambda *kind: Kernel(said(times, RULE, RULE)))
    assert nft.Socket().rules(Table(nft.IPV4, "x")).lengths["x"] == 1 + whole


def test_what_is_left_of_an_earlier_answer_is_none_to_the_next_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel_says = [b"", listed(1, MULTI, RULE) + listed(2, MULTI, RULE, RULE)]
    monkeypatch.setattr(socket, "socket", lambda *kind: Kernel(kernel_says))
    tables = nft.Socket()
    with pytest.raises(nft.NftError, match="wait for the kernel"):
        tables.rules(Table(nft.IPV4, "x"))
    assert tables.rules(Table(nft.IPV4, "x")).lengths["x"] == 2


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
