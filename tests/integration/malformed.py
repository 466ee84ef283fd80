"""Run in the client host: waits for a flow to the service, then sends malformed frames, and says how many."""

from __future__ import annotations

import struct
import sys

from scapy.all import IP, TCP, UDP, Ether, IPv6, Packet, Raw, conf, fragment, raw, sendp, sniff  # type: ignore[attr-defined]
from scapy.layers.inet6 import IPv6ExtHdrFragment, IPv6ExtHdrHopByHop

SERVICE_PORT = 7
INTERFACE = "eth0"
BAD_OPTIONS = (
    "0200,0201,050001,050301,08ff0000,01010105,050affffffffffffffff,1312" + "00" * 16 + ",fe00,0303ff08"
)


def flow_packet() -> Packet:
    """A data segment that the client sends on its flow right now."""
    (seen,) = sniff(
        iface=INTERFACE,
        count=1,
        timeout=10,
        lfilter=lambda p: TCP in p and p[TCP].dport == SERVICE_PORT and "P" in p[TCP].flags,
    )
    return seen


def ip_of(seen: Packet) -> Packet:
    """Ethernet and IP headers like those of the flow."""
    ether = Ether(src=seen[Ether].src, dst=seen[Ether].dst)
    if IPv6 in seen:
        return ether / IPv6(src=seen[IPv6].src, dst=seen[IPv6].dst)
    return ether / IP(src=seen[IP].src, dst=seen[IP].dst)


def segment(seen: Packet, flags: str, seq_offset: int = 0, payload: bytes = b"", **fields: object) -> Packet:
    """A segment of the flow whose sequence number is `seq_offset` beyond what the client sent."""
    old = seen[TCP]
    length = len(old.payload)
    tcp = TCP(
        sport=old.sport,
        dport=old.dport,
        seq=(old.seq + length + seq_offset) % 2**32,
        ack=old.ack,
        window=old.window,
        flags=flags,
        **fields,
    )
    return ip_of(seen) / tcp / Raw(payload)


def with_options(seen: Packet, options: bytes, offset: int | None = None) -> Packet:
    """A segment with these raw option bytes and a good checksum; `offset` is the data offset field."""
    padded = options + b"\0" * (-len(options) % 4)
    base = segment(seen, "A")
    built = base.__class__(raw(base))
    tcp = raw(built[TCP])[:20]
    words = 5 + len(padded) // 4 if offset is None else offset
    tcp = tcp[:12] + bytes([words << 4]) + tcp[13:16] + b"\0\0" + tcp[18:20] + padded
    head = ip_of(seen)
    head[Ether].payload.__setattr__("nh" if IPv6 in head else "proto", 6)
    whole = head / Raw(tcp)
    return with_tcp_checksum(whole, tcp)


def with_tcp_checksum(whole: Packet, tcp: bytes) -> Packet:
    """Put the right checksum into a raw TCP header."""
    from scapy.layers.inet import in4_chksum
    from scapy.layers.inet6 import in6_chksum

    value = in6_chksum(6, whole[IPv6], tcp) if IPv6 in whole else in4_chksum(6, whole[IP], tcp)
    whole[Raw].load = tcp[:16] + struct.pack("!H", value) + tcp[18:]
    return whole


def bad_checksums(seen: Packet) -> list[Packet]:
    """In-window segments that every kernel must drop: data, FIN, RST, SYN, pure ACK."""
    kinds = {"PA": b"wrong", "FA": b"", "R": b"", "RA": b"", "S": b"", "SA": b"", "A": b""}
    return [segment(seen, flags, payload=data, chksum=0xBAD) for flags, data in kinds.items()]


def bad_headers(seen: Packet) -> list[Packet]:
    """Wrong option lengths, wrong data offsets, truncated headers, impossible flags."""
    options = [bytes.fromhex(text) for text in BAD_OPTIONS.split(",")]
    frames = [with_options(seen, option) for option in options]
    frames += [with_options(seen, b"", offset) for offset in (0, 4, 6, 15)]
    whole = raw(segment(seen, "PA", payload=b"x"))
    ip_at = 14
    header = 40 if IPv6 in seen else 20
    frames += [Ether(whole[: ip_at + header + cut]) for cut in (0, 1, 8, 13, 19)]
    frames += [segment(seen, flags, seq_offset=1 << 28) for flags in ("", "FSRPAU", "SF", "SR", "R", "FA")]
    return frames


def bad_packets(seen: Packet) -> list[Packet]:
    """Fragments of every kind, IP options, wrong lengths, other protocols."""
    big = segment(seen, "PA", seq_offset=1 << 28, payload=bytes(3000))
    if IPv6 in seen:
        ip6 = ip_of(seen)
        tcp = raw(segment(seen, "A", seq_offset=1 << 28)[TCP])
        return [
            ip6 / IPv6ExtHdrHopByHop() / Raw(tcp),
            ip6 / IPv6ExtHdrFragment(offset=0, m=1, id=7, nh=6) / Raw(tcp[:8]),
            ip6 / IPv6ExtHdrFragment(offset=1, m=0, id=7, nh=6) / Raw(tcp[8:]),
            ip6 / IPv6ExtHdrFragment(offset=5, m=0, id=8, nh=6) / Raw(tcp),
            ip6 / UDP(sport=1, dport=SERVICE_PORT) / Raw(b"x"),
        ]
    ether, network = ip_of(seen)[Ether], big[IP]
    pieces = [Ether(src=ether.src, dst=ether.dst) / piece for piece in fragment(network, fragsize=512)]
    tiny = [Ether(src=ether.src, dst=ether.dst) / piece for piece in fragment(network, fragsize=8)[:5]]
    wrong_length = segment(seen, "PA", payload=b"short")
    wrong_length[IP].len = 30
    with_ip_options = segment(seen, "A", seq_offset=1 << 28)
    with_ip_options[IP].options = [b"\x07\x07\x04\0\0\0\0\0"]
    other = ip_of(seen) / UDP(sport=1, dport=SERVICE_PORT) / Raw(b"x")
    return [*pieces, *reversed(pieces), *tiny, wrong_length, with_ip_options, other]


def main() -> None:
    """Send everything several times while the flow goes on."""
    conf.verb = 0
    sent = 0
    for _ in range(3):
        seen = flow_packet()
        frames = [raw(frame) for make in (bad_checksums, bad_headers, bad_packets) for frame in make(seen)]
        sendp([Raw(frame) for frame in frames], iface=INTERFACE)
        sent += len(frames)
    print(sent)
    sys.exit(0)


if __name__ == "__main__":
    main()
