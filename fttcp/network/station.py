"""A group's own MAC address on the service interface, as a table of nf_tables.

Neighbours find the service at this address on whichever node serves, so no cache of theirs matters. The
engine answers and announces from it (neigh.c), and has the network card take what is sent to it. Here what
came for it is made the host's own, and what leaves under a service address bears it: else switches would not
learn where it is.

The interface stays as it is: no macvlan has to be up on one node only, or to be brought up by a takeover. Who
has the lease speaks from the address, and nobody else (the engine's gate, the guard of tables.py).
"""

from collections.abc import Iterator

from fttcp.network import kernel, nft
from fttcp.network.nft import Message, Table
from fttcp.network.rtnetlink import Netlink
from fttcp.network.rules import GroupNet

_INGRESS, _EGRESS = 0, 1
_TO, _FROM, _LENGTH = 0, 6, 6
_THIS_HOST = bytes(1)
_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
_SOURCE = {4: (12, 4), 6: (8, 16)}
_DEAF = ("macvlan", "macvtap", "ipvlan", "ipvtap")
"""Their drivers choose by destination, and know only the interface's own (macvlan_handle_frame)."""


def obstacle(socket: Netlink, interface: str, mac: bytes) -> tuple[str, str] | None:
    """Return why a service on this interface cannot have this MAC address, and what to do."""
    found = kernel.link(socket, interface)
    if found is not None and found.kind in _DEAF:
        seen = f"{interface} is a {found.kind}: it does not hear what is sent to `mac`"
        return seen, "remove `mac`, or choose the interface below as service_interface"
    if name := kernel.hardware_addresses(socket).get(mac):
        seen = (
            f"`mac` {mac.hex(':')} is {name}'s own: nodes that share it would draw it to their ports in turn"
        )
        return seen, "choose one that no interface has, or virtual, on all nodes"
    return None


def contents(table: Table, group: GroupNet) -> Iterator[Message]:
    """All that is in the table."""
    for interface in hooked(group):
        yield from _at(interface, table, group)


def hooked(group: GroupNet) -> list[str]:
    """The adapters that are there: one may be away for a while, and takes its chains with it."""
    return [name for name in group.adapters if kernel.index_of(name)]


def _at(interface: str, table: Table, group: GroupNet) -> Iterator[Message]:
    to_us, from_us = f"to-us-{interface}", f"from-us-{interface}"
    yield nft.make_chain(table, to_us, _INGRESS, 0, interface)
    own = [nft.payload(nft.LINK, _TO, _LENGTH), nft.compare(group.mac)]
    yield nft.add_rule(table, to_us, *own, nft.constant(_THIS_HOST), nft.set_meta(nft.PACKET_TYPE))
    yield nft.make_chain(table, from_us, _EGRESS, 0, interface)
    for address in group.addresses:
        ours = [
            *(nft.meta(nft.PROTOCOL), nft.compare(_ETHERTYPE[address.version])),
            *(nft.payload(nft.NETWORK, *_SOURCE[address.version]), nft.compare(address.packed)),
        ]
        bears = (nft.constant(group.mac), nft.write(nft.LINK, _FROM, _LENGTH))
        yield nft.add_rule(table, from_us, *ours, *bears)
