"""Packets for the tests of the native core, built and checked by scapy, which knows nothing of ours."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum

from fttcp._native import ffi, lib

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
FLAGS = st.sampled_from("SFRPAU").flatmap(
    lambda one: st.sets(st.sampled_from("SFRPAU"), max_size=4).map(lambda more: "".join(more | {one}))
)
ADDRESSES = {4: ("10.77.0.10", "10.77.0.100"), 6: ("fd77::10", "fd77::100")}

_libc = ctypes.CDLL(None, use_errno=True)


def options() -> st.SearchStrategy[list[tuple[str, Any]]]:
    """TCP options that fit into a header, at odd and even places."""
    pairs = st.lists(st.tuples(U32, U32), min_size=1, max_size=2)
    one = st.one_of(
        st.just(("NOP", None)),
        st.tuples(st.just("MSS"), U16),
        st.tuples(st.just("WScale"), st.integers(0, 255)),
        st.just(("SAckOK", b"")),
    )
    some = st.lists(one, max_size=3)
    stamps = st.one_of(st.just([]), st.tuples(U32, U32).map(lambda both: [("Timestamp", both)]))
    blocks = st.one_of(st.just([]), pairs.map(lambda all_: [("SAck", tuple(e for p in all_ for e in p))]))
    return st.tuples(some, stamps, blocks).map(lambda parts: [one for part in parts for one in part])


def segment(family: int, payload: bytes = b"", *, to_service: bool = True, **fields: Any) -> bytes:
    """A TCP segment with its IP header and right checksums; `fields` are scapy's."""
    client, service = ADDRESSES[family]
    source, destination = (client, service) if to_service else (service, client)
    ip = IP(src=source, dst=destination) if family == 4 else IPv6(src=source, dst=destination)
    ports = {"sport": 40000, "dport": 80} if to_service else {"sport": 80, "dport": 40000}
    return bytes(ip / TCP(**ports, **fields) / payload)


def datagram(family: int, payload: bytes) -> bytes:
    """A UDP datagram with its IP header."""
    client, service = ADDRESSES[family]
    ip = IP(src=client, dst=service) if family == 4 else IPv6(src=client, dst=service)
    return bytes(ip / UDP(sport=40000, dport=69) / payload)


def layers(packet: bytes) -> tuple[Any, Any]:
    """The IP and the TCP layer, as scapy reads them."""
    ip = IP(packet) if packet[0] >> 4 == 4 else IPv6(packet)
    return ip, ip[TCP]


def sum_is_right(packet: bytes) -> bool:
    """Whether the TCP checksum is what RFC 9293 3.1 asks for, by scapy's arithmetic."""
    ip, _ = layers(packet)
    at = ip.ihl * 4 if ip.version == 4 else 40
    if ip.version == 4:
        return bool(in4_chksum(6, ip, packet[at:]) == 0)
    return bool(in6_chksum(6, ip, packet[at:]) == 0)


def parse(packet: bytes) -> tuple[int, Any, Any]:
    """What the core makes of a whole packet: kind, struct ftt_pkt, struct ftt_seg."""
    pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
    kind = lib.ftt_core_parse(ffi.from_buffer("uint8_t[]", packet), len(packet), len(packet), pkt, seg)
    return kind, pkt, seg


@contextmanager
def at_the_edge() -> Iterator[Any]:
    """Yield a function that puts bytes right before a page that cannot be read; it returns a uint8_t *.

    A read behind the bytes ends the process with SIGSEGV, which pytest's fault handler tells of.
    """
    pages = mmap.mmap(-1, 16 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    end = len(pages) - mmap.PAGESIZE
    assert _libc.mprotect(ctypes.c_void_p(start + end), mmap.PAGESIZE, 0) == 0, "mprotect failed"

    def put(data: bytes) -> Any:
        assert len(data) <= end
        pages[end - len(data) : end] = data
        return ffi.cast("uint8_t *", start + end - len(data))

    yield put  # the map is not closed: ctypes holds an export of it, it goes with the objects
