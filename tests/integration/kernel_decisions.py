"""Run in a namespace of its own: random segments for a real kernel's connections, and the same for the core.

kernel_decisions.py FAMILY SEED CONNECTIONS. A tun device takes the place of the network: a packet written
to it has been through the stack when the call returns, so nothing here depends on time. Before each segment
the kernel is asked where it stands (TCP_REPAIR tells), `accept.h` judges by that, and afterwards the kernel
must have moved as the judgement says: no more, no less. A flow of the engine sees the same packets, of both
directions, and must stand where the kernel stands. Prints a summary, and what differed.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import struct
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode

MASK = 2**32 - 1
NODES = {4: ("10.9.0.2", "10.9.0.1"), 6: ("fd09::2", "fd09::1")}
PORT, STEPS = 7, 60
SYN, ACK, FIN, RST, PSH, URG = (
    lib.TCP_SYN, lib.TCP_ACK, lib.TCP_FIN, lib.TCP_RST, lib.TCP_PSH, lib.TCP_URG,
)  # fmt: skip
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_WINDOW = 19, 20, 21, 29
RECV_QUEUE, SEND_QUEUE, TCP_CLOSE, TCP_CLOSE_WAIT = 1, 2, 7, 8
SIOCOUTQ = 0x5411
TIMERS = ("DelayedACKs", "TCPTimeouts")
NAMES = ("taken", "ends", "time", "sequence", "reset", "syn", "no-ack", "old-ack", "unsent")


def ahead(a: int, b: int) -> int:
    """By how much sequence number `a` is ahead of `b`; negative when it is behind."""
    return ((a - b + 2**31) & MASK) - 2**31


def open_tun() -> int:
    """The network: a device whose other end we are."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
    for family, (_, node) in NODES.items():
        width, nodad = (24, []) if family == 4 else (64, ["nodad"])
        subprocess.run(["ip", "addr", "add", f"{node}/{width}", "dev", "tun0", *nodad], check=True)
    subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
    Path("/proc/sys/net/ipv4/tcp_early_retrans").write_text("0")  # no tail loss probes: they are early timers
    return tun


class Segment(NamedTuple):
    """What the client is to send."""

    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    data: bytes = b""


def packet(family: int, port: int, one: Segment) -> bytes:
    """A segment of the client's, with its IP header and checksums."""
    offset = (20 + len(one.options)) // 4 << 4
    numbers = (port, PORT, one.seq & MASK, one.ack & MASK, offset, one.flags, one.window)
    tcp = bytearray(struct.pack("!HHIIBBHHH", *numbers, 0, bool(one.flags & URG)) + one.options + one.data)
    af = socket.AF_INET if family == 4 else socket.AF_INET6
    source, target = (socket.inet_pton(af, one) for one in NODES[family])
    tcp[16:18] = struct.pack("!H", checksum(source + target + struct.pack("!II", 6, len(tcp)) + tcp))
    if family == 6:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + source + target + bytes(tcp)
    ip = bytearray(struct.pack("!BBHIBBH", 0x45, 0, 20 + len(tcp), 0x4000, 64, 6, 0) + source + target)
    ip[10:12] = struct.pack("!H", checksum(bytes(ip)))
    return bytes(ip + tcp)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Stand(NamedTuple):
    """Where the kernel's end of a connection stands."""

    rcv_nxt: int
    rcv_wup: int
    edge: int
    snd_una: int
    snd_nxt: int
    snd_wl1: int
    snd_wnd: int
    max_wnd: int
    ended: bool
    closed: bool


def stand(sock: socket.socket) -> Stand:
    """Ask the kernel."""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state == TCP_CLOSE:
        return Stand(0, 0, 0, 0, 0, 0, 0, 0, True, True)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    numbers = []
    for queue in (RECV_QUEUE, SEND_QUEUE):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        numbers.append(sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & MASK)
    raw = sock.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, 20)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, -1)
    wl1, snd_wnd, max_wnd, rcv_wnd, rcv_wup = struct.unpack("5I", raw)
    unsent, unacked = (
        struct.unpack("i", fcntl.ioctl(sock, request, b"\0" * 4))[0] for request in (0x894B, SIOCOUTQ)
    )  # SIOCOUTQNSD: of what was written
    received, written = numbers
    edge, snd_una, snd_nxt = (
        (one & MASK) for one in (rcv_wup + rcv_wnd, written - unacked, written - unsent)
    )
    ended = state == TCP_CLOSE_WAIT
    return Stand(received, rcv_wup, edge, snd_una, snd_nxt, wl1, snd_wnd, max_wnd, ended, False)


def counted() -> Counter[str]:
    """What the namespace's TCP has refused, by its own counters."""
    lines = Path("/proc/net/netstat").read_text().splitlines()
    names, values = lines[0].split()[1:], lines[1].split()[1:]
    return Counter(dict(zip(names, map(int, values), strict=True)))


class Connection:
    """One connection of a kernel's server with a client that is made up, and the engine's flow of it."""

    def __init__(self, tun: int, family: int, port: int, listener: socket.socket, rng: random.Random) -> None:
        self.tun, self.family, self.port, self.rng = tun, family, port, rng
        self.times, self.sack = rng.random() < 0.7, rng.random() < 0.5
        self.scale = rng.choice((0, 2, 7, 14, None))
        soon = rng.randrange(3000)
        self.irs = rng.choice((rng.randrange(2**32), 2**32 - soon, 2**31 - soon))
        self.clock = rng.choice((rng.randrange(1, 2**32), 2**32 - 500, 2**31 - 500))
        self.echo = 0
        self.recent = {self.clock}  # what ts_recent can be
        self.state, self.edit = ffi.new("struct ftt_flow *"), ffi.new("struct ftt_edit *")
        self.policy = ffi.new("struct ftt_policy *")
        self.env = ffi.new("struct ftt_env *", {"policy": self.policy, "lease": True})
        self.env.mode = EngineMode.SOLO
        self.now = 10**12
        self.differences: list[str] = []
        lib.ftt_core_flow_init(self.state, self.irs & MASK, self.now)
        options = b"\x02\x04\x05\xb4" + (b"\x04\x02\x01\x01" if self.sack else b"")
        options += bytes((3, 3, self.scale, 1)) if self.scale is not None else b""
        self.send(Segment(self.irs, 0, SYN, 30000, options + self.stamp(self.clock, 0)))
        (answer,) = self.heard()
        self.iss = answer.seq
        self.shift_count = (self.scale or 0) if answer.options & lib.FTT_OPT_WSCALE else 0
        self.send(Segment(self.irs + 1, self.iss + 1, ACK, 30000, self.stamp(self.clock, self.echo)))
        self.sock = listener.accept()[0]
        self.sock.setblocking(False)
        self.heard()

    def stamp(self, value: int, echo: int) -> bytes:
        """Timestamps, if they are in use."""
        return b"\x01\x01\x08\x0a" + struct.pack("!II", value & MASK, echo & MASK) if self.times else b""

    def send(self, one: Segment) -> tuple[Any, int]:
        """Give a segment to the kernel, and to the engine; returns it parsed, and the engine's verdict."""
        raw = packet(self.family, self.port, one)
        seg = self.parse(raw, lib.FTT_FROM_CLIENT)
        verdict = lib.ftt_core_segment_step(self.state, seg, self.env, self.edit)
        os.write(self.tun, raw)
        return seg, verdict

    def parse(self, raw: bytes, direction: int) -> Any:
        pkt, seg = ffi.new("struct ftt_pkt *"), ffi.new("struct ftt_seg *")
        kind = lib.ftt_core_parse(ffi.from_buffer("uint8_t[]", raw), len(raw), len(raw), pkt, seg)
        assert kind == lib.FTT_PARSED_TCP
        seg.dir = direction
        self.now += 1000
        self.env.now_ns = self.now
        return seg

    def heard(self) -> list[Any]:
        """What the kernel has said since; the engine sees it as well."""
        said = []
        while True:
            try:
                raw = os.read(self.tun, 65536)
            except BlockingIOError:
                return said
            tcp = raw[20:] if raw[0] >> 4 == 4 else raw[40:]
            if (raw[0] >> 4 == 6 and raw[6] != 6) or struct.unpack("!H", tcp[2:4])[0] != self.port:
                continue  # neighbour discovery, or an earlier connection
            seg = self.parse(raw, lib.FTT_FROM_SERVER)
            lib.ftt_core_segment_step(self.state, seg, self.env, self.edit)
            if seg.options & lib.FTT_OPT_TS:
                self.echo = seg.tsval
            said.append(seg)

    # ---- a random segment

    def server_acts(self) -> None:
        """The server reads, or says something."""
        rng = self.rng
        if rng.random() < 0.8:
            self.read()
        if rng.random() < 0.4:
            with suppress(BlockingIOError, BrokenPipeError):  # enough is under way, or the client has gone
                self.sock.send(bytes(rng.randrange(1, 3000)))
        self.heard()

    def read(self) -> None:
        """Read all that there is."""
        with suppress(BlockingIOError, ConnectionResetError):
            while self.sock.recv(1 << 20):
                pass

    def choose(self, at: Stand) -> Segment:
        """Numbers at and around every border."""
        rng = self.rng
        some = rng.choice((1, 2, rng.randrange(1, 3000), rng.randrange(1, 2**20)))
        any_number = rng.randrange(2**32)
        inside = at.rcv_nxt + rng.randrange(max(ahead(at.edge, at.rcv_nxt), 0) + 1)
        seq = rng.choice((
            *[at.rcv_nxt] * 8, at.rcv_nxt - 1, at.rcv_nxt + 1, at.rcv_wup, at.rcv_wup - 1, at.rcv_wup - some,
            at.edge, at.edge + 1, at.edge - 1, at.edge + some, inside, any_number, self.state.client_nxt,
            self.state.in_order,
        ))  # fmt: skip
        under_way, acked = ahead(at.snd_nxt, at.snd_una), ahead(at.snd_una, self.iss + 1)
        oldest = at.snd_una - min(at.max_wnd, acked)
        ack = rng.choice((
            *[at.snd_una] * 4, *[at.snd_nxt] * 4, at.snd_una + rng.randrange(under_way + 1), at.snd_nxt + 1,
            at.snd_nxt + some, at.snd_una - 1, oldest, oldest - 1, oldest - some, self.iss, self.iss + 1,
            any_number,
        ))  # fmt: skip
        flags = rng.choice((
            *[ACK] * 14, *[ACK | PSH] * 4, ACK | URG, RST, RST | ACK, RST | SYN, SYN, SYN | ACK, SYN | FIN, 0,
            PSH, FIN, *[FIN | ACK][: rng.random() < 0.2],
        ))  # fmt: skip
        length = 0 if at.ended else rng.choice((0, 0, 1, rng.randrange(1, 1200)))  # behind a FIN: it resets
        if ahead(seq + length, at.edge) > 0 >= ahead(seq, at.edge):
            length = max(ahead(at.edge, seq), 0)  # of what crosses the edge kernels differ in taking it
        window = rng.randrange(1, 65536) if rng.random() < 0.7 else max(at.snd_wnd >> self.shift_count, 1)
        return Segment(seq & MASK, ack & MASK, flags, window, self.choose_times(some), rng.randbytes(length))

    def choose_times(self, some: int) -> bytes:
        """Timestamps around the last one."""
        rng = self.rng
        if rng.random() < 0.05:
            return b""
        recent = max(self.recent, key=lambda one: ahead(one, min(self.recent)))
        value = rng.choice((
            *[recent] * 5, recent + 1, recent + rng.randrange(1, 2000), recent - 1, recent - 2, recent - some,
            recent + 2**31, rng.randrange(2**32),
        ))  # fmt: skip
        return self.stamp(value, rng.choice((self.echo, self.echo, self.echo - some, rng.randrange(2**32))))

    def judge(self, at: Stand, seg: Any, recent: int) -> int:
        """What the core says to it."""
        place = ffi.new("struct ftt_place *", {
            "rcv_nxt": at.rcv_nxt, "rcv_wup": at.rcv_wup, "edge": at.edge, "snd_first": (self.iss + 1) & MASK,
            "snd_una": at.snd_una, "snd_nxt": at.snd_nxt, "max_wnd": at.max_wnd, "ts_recent": recent,
            "times": self.times, "fin": at.ended,
        })  # fmt: skip
        return int(lib.ftt_core_judge(place, seg))

    def step(self) -> str | None:
        """One segment; returns how it was judged, None if that depends on what cannot be known."""
        self.server_acts()
        before, counts = stand(self.sock), counted()
        if before.closed or self.heard():
            return None
        chosen = self.choose(before)
        seg = self.parse(packet(self.family, self.port, chosen), lib.FTT_FROM_CLIENT)
        judged = {self.judge(before, seg, recent) for recent in self.recent}
        if judged == {lib.FTT_REFUSED_OLD_ACK}:  # the fast path looks at its time, and takes its data
            chosen = chosen._replace(window=(before.snd_wnd >> self.shift_count) ^ 1)  # none for this one
        shown = self.state.local_edge
        seg, verdict = self.send(chosen)
        self.heard()
        after, moved = stand(self.sock), counted() - counts
        unshown = ahead(seg.seq, before.edge) <= 0 < ahead(seg.seq, shown)
        if self.heard() or unshown or any(moved[one] for one in TIMERS):
            return None  # a timer: where it stood is not certain; or beyond what an unscaled field can show
        if len(judged) > 1 or (self.sack and judged == {lib.FTT_REFUSED_RST} and after.closed):
            return None  # a RST right behind what came out of order ends the connection, too
        (how,) = judged
        self.check(before, after, seg, how, moved, verdict)
        self.remember_time(before, seg, how)
        return NAMES[how]

    def remember_time(self, at: Stand, seg: Any, how: int) -> None:
        """What ts_recent is from now on (tcp_replace_ts_recent); with an old acknowledgement, unknown."""
        late = ahead(seg.seq, at.rcv_wup) > 0 or not seg.options & lib.FTT_OPT_TS
        if how != lib.FTT_TAKEN or not self.times or late:
            return
        renewed = {seg.tsval if not one or ahead(one, seg.tsval) <= 0 else one for one in self.recent}
        self.recent = renewed | (self.recent if ahead(seg.ack, at.snd_una) < 0 else set())

    # ---- has the kernel done so?

    def check(
        self, before: Stand, after: Stand, seg: Any, how: int, moved: Counter[str], verdict: int
    ) -> None:
        """Note what is not as it was judged."""
        end = (seg.seq + seg.len + bool(seg.flags & FIN)) & MASK
        pairs: dict[str, tuple[object, object]] = {"closed": (how == lib.FTT_ENDS, after.closed)}
        over = bool(self.state.bits & lib.FTT_F_CLIENT_RST)
        if seg.flags & RST and (over or not before.ended):
            pairs["engine: over"] = (how == lib.FTT_ENDS, over)
        pairs |= {} if after.closed else self.movement(before, after, seg, how == lib.FTT_TAKEN)
        pairs["challenged for SYN"] = (how == lib.FTT_REFUSED_SYN, moved["TCPSYNChallenge"] > 0)
        repeats = end == seg.seq == before.rcv_nxt and seg.ack == before.snd_una  # may be late: taken, or not
        if how != lib.FTT_REFUSED_TIME or not repeats:
            paws = moved["PAWSEstab"] + moved["PAWSOldAck"]
            pairs["refused by PAWS"] = (how == lib.FTT_REFUSED_TIME, paws > 0)
        unsent = seg.flags & (ACK | RST | SYN) == ACK and ahead(seg.ack, before.snd_nxt) > 0
        news, drops = ahead(end, before.rcv_wup) > 0 and end != seg.seq, verdict == lib.FTT_DROP
        stricter = drops and news and ahead(seg.ack, before.snd_una) < 0  # its largest window may be smaller
        too_old = how == lib.FTT_REFUSED_OLD_ACK and news
        if seg.flags & (SYN | ACK) != SYN | ACK:  # no stack gets that one: see test_accept.c
            pairs["engine drops"] = (unsent or too_old or stricter, drops)
        odd = {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}
        if odd:
            place = f"seq {ahead(seg.seq, before.rcv_nxt):+} ack {ahead(seg.ack, before.snd_una):+}"
            told = f"{place} len {seg.len} flags {seg.flags:#x} time {seg.tsval} of {self.recent}"
            told += f", engine: sent {ahead(self.state.sent, before.snd_una):+}"
            self.differences.append(f"{NAMES[how]}: {told}: (wanted, got) {odd}, before {before}")

    def movement(
        self, before: Stand, after: Stand, seg: Any, taken: bool
    ) -> dict[str, tuple[object, object]]:
        """How the kernel, and the engine, should have moved, and how they have."""
        end, window = seg.seq + seg.len + bool(seg.flags & FIN), seg.wnd << self.shift_count
        advances = taken and ahead(seg.ack, before.snd_una) > 0
        news = not before.ended and ahead(seg.seq, before.rcv_nxt) <= 0 < ahead(end, before.rcv_nxt)
        fresh = ahead(seg.seq, before.snd_wl1)
        wider = fresh > 0 or (fresh == 0 and window > before.snd_wnd)
        update = advances or (taken and seg.ack == before.snd_una and wider)  # tcp_may_update_window
        times = {*self.recent, seg.tsval}
        return {
            "received": (taken and news, after.rcv_nxt != before.rcv_nxt),
            "acknowledged": (seg.ack if advances else before.snd_una, after.snd_una),
            "window": (window if update else before.snd_wnd, after.snd_wnd),
            "engine: client_acked": (after.snd_una, self.state.client_acked),
            "engine: local_rcv_nxt": (after.rcv_wup, self.state.local_rcv_nxt),
            "engine: ts_recent": (True, not self.times or self.state.ts_recent in times),
        }


def main() -> None:
    """Play so many connections."""
    family, seed, connections = map(int, sys.argv[1:])
    rng, tun = random.Random(seed), open_tun()
    listener = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
    # no pacing: what is due while a socket is in repair mode counts as sent, and is not (tcp_write_xmit)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    listener.bind((NODES[family][1], PORT))
    listener.listen()
    count: Counter[str] = Counter()
    differences: list[str] = []
    for number in range(connections):
        connection = Connection(tun, family, 20000 + number, listener, rng)
        for _ in range(STEPS):
            how = connection.step()
            count[how or "unknown"] += 1
            if not how or connection.differences or stand(connection.sock).closed:
                break
        differences += [f"connection {number}: {one}" for one in connection.differences]
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sock.close()
        connection.heard()
    print(json.dumps({"judged": count, "differences": differences}))


if __name__ == "__main__":
    main()
