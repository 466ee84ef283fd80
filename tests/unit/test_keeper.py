"""Rules of routing that come back, and an `apply` that fails."""

import asyncio
import errno
import struct
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest

from fttcp.network.keeper import RuleKeeper
from fttcp.network.network import NetworkSetup
from fttcp.network.routing import PROTOCOL, Rule
from fttcp.network.rules import RulesError

RULE = Rule("to", "10.78.0.2", 254)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def removed(rule: Rule) -> bytes:
    """What the kernel tells when it is removed."""
    body = (
        bytes(12)
        + _attribute(1, ip_address(rule.address).packed)
        + _attribute(15, struct.pack("=I", rule.table))
        + _attribute(21, bytes([PROTOCOL]))
    )
    return struct.pack("=IHHII", 16 + len(body), 33, 0, 0, 0) + body


class Stubborn:
    """A socket to a kernel in which somebody removes a rule as soon as it is back."""

    def __init__(self, refused: int = 0) -> None:
        self.heard = self.sent = 0
        self._refused = refused

    def recv(self, _: int) -> bytes:
        self.heard += 1
        assert self.heard < 10_000, "it never ends"
        return removed(RULE)

    def send(self, _: bytes) -> None:
        if self._refused:
            self._refused -= 1
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self.sent += 1


def hear(kernel: Stubborn) -> list[Rule]:
    """What one call restores."""

    async def body() -> list[Rule]:
        keeper = RuleKeeper()
        keeper.keep([RULE])
        real = keeper._socket
        keeper._socket = cast(Any, kernel)
        keeper._hear()
        keeper._socket = real
        keeper.close()
        return keeper.restored()

    return asyncio.run(body())


def test_who_removes_rules_without_end_does_not_stop_the_loop() -> None:
    kernel = Stubborn()
    assert hear(kernel) == [RULE] * kernel.sent
    assert 0 < kernel.sent == kernel.heard


def test_what_the_kernel_did_not_take_is_not_restored() -> None:
    kernel = Stubborn(refused=3)
    assert hear(kernel) == [RULE] * kernel.sent
    assert kernel.sent == kernel.heard - 3


def test_rules_are_kept_when_an_apply_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> None:
        raise RulesError("no")

    async def body() -> None:
        setup = NetworkSetup((), tmp_path)
        monkeypatch.setattr(setup, "_claim", refused)
        setup._keep_rules({RULE})
        keeper = setup._keeper
        assert keeper is not None
        with pytest.raises(RulesError):
            await setup.apply()
        assert keeper.kept == {RULE}
        keeper.close()

    asyncio.run(body())


class BusyOwner:
    """An owner whose end waits for another thread, as long as the loop does not turn."""

    def __init__(self) -> None:
        self.turned, self.closed = threading.Event(), False

    def close(self) -> None:
        assert self.turned.wait(10), "the loop stands still meanwhile"
        self.closed = True


def test_the_loop_goes_on_while_the_owner_of_the_tables_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def clean(*_: object) -> bool:
        return True

    async def body() -> None:
        owner, setup = BusyOwner(), NetworkSetup((), tmp_path)
        monkeypatch.setattr("fttcp.network.network._undo", clean)
        setup._owner = cast(Any, owner)
        asyncio.get_running_loop().call_later(0, owner.turned.set)
        await setup.remove()
        assert owner.closed

    asyncio.run(body())
