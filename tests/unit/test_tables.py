"""How the kernel is spoken to about tables of nf_tables: by one at a time, and never without an end."""

import asyncio
import errno
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, cast

import pytest

from fttcp.network import nft
from fttcp.network.network import install
from fttcp.network.nft import NftError, Rules, Table
from fttcp.network.owner import Firewall, Owner, TakenError
from fttcp.network.rules import GroupNet, RulesError
from fttcp.network.tables import plan

GROUP = GroupNet(
    name="web",
    addresses=(ip_address("10.77.0.100"),),
    ports=((80, 80, "tcp"),),
    service_interface="svc0",
    peer_interface="peer0",
    mirror_gateway4=ip_address("10.78.0.2"),
    mirror_gateway6=None,
    queue_in=77,
    queue_out=93,
)
TABLE = Table(nft.IPV4, "fttcp-rules-web")


class Kernel:
    """In the place of an Owner's sockets and guardian: whoever speaks to it has to be the only one."""

    port = 1

    def __init__(self, owner: Owner, owners: Iterable[int]) -> None:
        self._owner, self._owners = owner, iter(owners)
        self.calls = 0

    def _called(self, *_: Any) -> None:
        self.calls += 1
        assert self._owner._one_at_a_time.locked()

    change = close = keep = end = _called

    def exists(self, _: Table) -> bool:
        self._called()
        return False

    def owner(self, _: Table) -> int:
        self._called()
        return next(self._owners, 0)

    def rules(self, _: Table) -> Rules:
        self._called()
        return Rules(Counter(), Counter())


def owner_in(*owners: int) -> tuple[Owner, Kernel]:
    owner = Owner(Firewall.KEPT)
    owner.close()
    kernel = Kernel(owner, owners)
    owner._socket = owner._claiming = cast(Any, kernel)
    owner._guardian = cast(Any, kernel)
    return owner, kernel


@pytest.mark.parametrize(
    "call",
    [
        lambda owner: owner.claim(GROUP.addresses, [7700]),
        lambda owner: owner.make(GROUP),
        lambda owner: owner.move_mirror(GROUP),
        lambda owner: owner.standing(GROUP),
        lambda owner: owner.remove(plan(GROUP)),
        lambda owner: owner.close(),
    ],
    ids=["claim", "make", "move_mirror", "standing", "remove", "close"],
)
def test_one_thread_at_a_time_speaks_to_the_kernel(call: Callable[[Owner], Any]) -> None:
    owner, kernel = owner_in()
    call(owner)
    assert kernel.calls
    assert not owner._one_at_a_time.locked()


@pytest.mark.parametrize("firewall", [Firewall.KEPT, Firewall.FLUSHABLE])
def test_a_kernel_without_hooks_at_interfaces_is_told_of(firewall: Firewall) -> None:
    owner, kernel = owner_in()

    def refuse(_: Any) -> None:
        raise NftError("make chain from-us", errno.EOPNOTSUPP)

    kernel.change = refuse  # type: ignore[method-assign, assignment]
    owner.firewall = firewall
    with pytest.raises(RulesError, match=r"group web: .* MAC address of its own .* remove `mac`"):
        asyncio.run(install(owner, replace(GROUP, mac=bytes(6))))


def test_a_table_whose_owner_ends_meanwhile_is_free() -> None:
    owner, _ = owner_in(7, 0)  # nobody has a socket with that port
    owner.remove([TABLE])
    owner, _ = owner_in(7, 7)
    with pytest.raises(TakenError):
        owner.remove([TABLE])


def test_a_kernel_that_does_not_answer_is_waited_for_with_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_ANSWER_S", 1)
    socket = nft.Socket()
    monkeypatch.setattr(socket, "_send", lambda data: None)
    with pytest.raises(NftError, match="wait for the kernel's answer: Connection timed out"):
        socket.rules(TABLE)
    socket.close()


class Answers:
    """A socket with what the kernel has sent."""

    def __init__(self, *messages: bytes) -> None:
        self.left = list(messages)

    def send(self, data: bytes) -> None:
        """It knows."""

    def recv(self, size: int, flags: int) -> bytes:
        """The next one."""
        if not self.left:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return self.left.pop(0)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


@pytest.mark.parametrize("port", [0, 7])
def test_what_the_kernel_says_of_an_owner_is_heard_to_the_end(port: int) -> None:
    table = bytes(4) + (struct.pack("=HH", 8, 7) + port.to_bytes(4, "big") if port else b"")
    socket, answers = nft.Socket(), Answers(message(0xA00, table), message(2, bytes(4)))
    socket.close()
    socket._socket = cast(Any, answers)
    assert socket.owner(TABLE) == port
    assert not answers.left
