"""Properties of the C core's flows under any sequence of segments, records, time and changes of role.

Sequence numbers are drawn as offsets from where the connection began, so that every draw is near what
real stacks say, with the beginnings anywhere in the number space.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode
from fttcp.planes.base import Protection
from tests.property.packets import U16, U32, layers, parse, segment, sum_is_right

MASK = 2**32 - 1
MS = 1_000_000
NEAR = st.one_of(st.integers(0, 3), st.integers(0, 6000), st.integers(0, 200_000))
LENGTHS = st.sampled_from((0, 1, 1000, 1448))
SCALES = st.integers(0, 14)
LOCAL_FLAGS = st.sampled_from(
    (lib.TCP_ACK, lib.TCP_ACK, lib.TCP_ACK, lib.TCP_ACK | lib.TCP_FIN, lib.TCP_ACK | lib.TCP_RST, lib.TCP_RST)
)
CLIENT_FLAGS = st.sampled_from(
    (lib.TCP_ACK, lib.TCP_ACK, lib.TCP_ACK, lib.TCP_ACK | lib.TCP_FIN, lib.TCP_RST)
)
POLICY = {"detach_after_ns": 50 * MS, "end_grace_ns": 20 * MS, "open_timeout_ns": 30 * MS}
FROM_CLIENT, FROM_SERVER = lib.FTT_FROM_CLIENT, lib.FTT_FROM_SERVER


def ahead(a: int, b: int) -> int:
    """By how much sequence number `a` is ahead of `b`; negative when it is behind."""
    return ((a - b + 2**31) & MASK) - 2**31


@st.composite
def handshakes(draw: st.DrawFn) -> dict[str, int]:
    """The numbers of a connection's beginning, and its window scales."""
    near_the_end = st.integers(2**32 - 3000, 2**32 - 1)
    number = st.one_of(U32, near_the_end)
    return {
        "irs": draw(number), "service_iss": draw(number), "local_iss": draw(number),
        "service_ts": draw(number), "local_ts": draw(number),
        "window": draw(U16), "local_wscale": draw(SCALES), "service_wscale": draw(SCALES),
        "client_wscale": draw(SCALES),
    }  # fmt: skip


class Endpoint:
    """One flow on one node, and what a test sees of it."""

    def __init__(self, hand: dict[str, int], mode: EngineMode) -> None:
        self.hand, self.mode, self.now = hand, mode, 10**12
        self.state, self.edit = ffi.new("struct ftt_flow *"), ffi.new("struct ftt_edit *")
        self.policy = ffi.new("struct ftt_policy *", POLICY)
        self._env = ffi.new("struct ftt_env *", {"policy": self.policy, "vouched": True})
        self.key = ffi.new("struct ftt_key *", {"remote_port": 40000, "local_port": 80, "proto": 6})
        for end in (self.key.remote, self.key.local):
            ffi.buffer(end)[:] = bytes(10) + b"\xff\xff\x0a\x4d\0\x0a"
        lib.ftt_core_flow_init(self.state, hand["irs"], self.now)
        options = lib.FTT_OPT_TS | lib.FTT_OPT_WSCALE | lib.FTT_OPT_SACK_OK
        self.step(
            self.client(
                0, 0, 0, flags=lib.TCP_SYN, seq=hand["irs"], options=options, wscale=hand["client_wscale"]
            )
        )
        self.synack = self.server(
            0, 0, 0, flags=lib.TCP_SYN | lib.TCP_ACK, seq=hand["local_iss"], ack=(hand["irs"] + 1) & MASK,
            wnd=hand["window"], options=options, wscale=hand["local_wscale"], tsval=hand["local_ts"],
        )  # fmt: skip

    def client(self, at: int, length: int, acked: int, **fields: int) -> Any:
        """The client's segment with byte `at` of its stream, which acknowledges `acked` bytes of ours."""
        given_ = {
            "seq": (self.hand["irs"] + 1 + at) & MASK,
            "ack": (self.hand["service_iss"] + 1 + acked) & MASK,
            "len": length, "flags": lib.TCP_ACK, "dir": FROM_CLIENT,
        }  # fmt: skip
        return ffi.new("struct ftt_seg *", given_ | fields)

    def server(self, at: int, length: int, acked: int, **fields: int) -> Any:
        """The local stack's segment with byte `at` of its stream; it acknowledges `acked` bytes."""
        given_ = {
            "seq": (self.hand["local_iss"] + 1 + at) & MASK,
            "ack": (self.hand["irs"] + 1 + acked) & MASK,
            "len": length, "flags": lib.TCP_ACK, "dir": FROM_SERVER,
        }  # fmt: skip
        return ffi.new("struct ftt_seg *", given_ | fields)

    def env(self) -> Any:
        """This node as it is now, with a lease."""
        self._env.now_ns, self._env.mode, self._env.lease = self.now, int(self.mode), True
        return self._env

    def step(self, seg: Any) -> int:
        """Have the core see a segment; the edit is in `self.edit`."""
        return int(lib.ftt_core_segment_step(self.state, seg, self.env(), self.edit))

    def stack_hears(self) -> Any:
        """What the stack is told of the client's acknowledgements, nothing being retained."""
        retained = ffi.new("struct ftt_retained *")
        return self.built(
            lambda state, *more: lib.ftt_core_build_for_stack(state, retained, *more), int(self.mode)
        )

    def built(self, build: Any, *more: Any) -> Any:
        """A segment that the core builds, as struct ftt_seg; its checksum is right."""
        room = ffi.new("uint8_t[]", lib.FTT_BARE_MAX)
        packet = bytes(ffi.buffer(room, build(self.state, self.key, *more, room)))
        kind, _, seg = parse(packet)
        assert kind == lib.FTT_PARSED_TCP and sum_is_right(packet)
        return seg

    def record(self, kind: int, **fields: int) -> Any:
        """A record of the other node about this flow."""
        return ffi.new("struct ftt_record *", {"type": kind, "irs": self.hand["irs"]} | fields)


# ---- the primary


class Primary(Endpoint):
    """The node that shook hands. `seen` gets what the client is shown, in order."""

    def __init__(self, hand: dict[str, int]) -> None:
        super().__init__(hand | {"service_wscale": hand["local_wscale"]}, EngineMode.PAIRED)
        self.held: list[Any] = []
        self.committed = 0  # offset in the client's stream: the most that the backup ever told
        self.peer_reset = False  # the backup told that its stack has reset the connection
        self.told = 0  # highest acknowledgement shown, as offset
        self.promised = hand["window"]  # right edge shown, as offset
        shift = self.policy.shift
        shift.on, shift.iss, shift.ts = True, hand["service_iss"], hand["service_ts"]
        self.from_server(self.synack)

    def from_server(self, seg: Any) -> None:
        """The local stack sends."""
        stray = lib.ftt_core_answers_stray(self.state, seg)  # a RST with the numbers of what it answers
        verdict = self.step(seg)
        actions, protection = self.edit.actions, self.state.protection
        if stray:
            assert verdict == lib.FTT_PASS
            return
        if verdict == lib.FTT_PASS:
            self.show(seg)
        elif verdict == lib.FTT_HOLD:
            self.held.append(seg)
            self.state.held_since_ns = self.state.held_since_ns or self.now
        if self.mode is EngineMode.PAIRED and protection in (Protection.OPENING, Protection.DETACHING):
            assert verdict != lib.FTT_PASS
        self.act(actions)

    def show(self, seg: Any) -> None:
        """The client sees a segment of the local stack, edited."""
        edit = self.edit
        wnd = edit.wnd if edit.change & lib.FTT_EDIT_WND else seg.wnd
        assert not edit.change & lib.FTT_EDIT_ACK
        self.look(seg.flags, seg.ack, wnd)

    def look(self, flags: int, ack: int, wnd: int) -> None:
        """What must hold of all that the client is shown."""
        if not flags & lib.TCP_ACK:
            return
        acked = ahead(ack, (self.hand["irs"] + 1) & MASK)
        # then a takeover resets it as well, or nobody waits for anything
        over = self.peer_reset or self.state.bits & lib.FTT_F_CLIENT_RST
        if self.mode is EngineMode.PAIRED and self.state.protection == Protection.PROTECTED and not over:
            assert acked <= self.committed, "acknowledged, and the backup may not have it"
        if flags & (lib.TCP_SYN | lib.TCP_RST):
            return
        edge = acked + (wnd << self.hand["service_wscale"])
        cut = 1 << self.hand["service_wscale"]  # what the scale cuts off (RFC 7323 2.4)
        if acked >= self.told:  # of older ones a client does not take the window (RFC 9293 3.10.7.4)
            assert edge > self.promised - cut, "the right edge moved back"
        self.promised = max(self.promised, edge)
        self.told = max(self.told, acked)

    def act(self, actions: int) -> None:
        """Do what the engine does with what the core asks for."""
        if actions & lib.FTT_ACT_ACK_CLIENT:
            seg = self.built(lib.ftt_core_build_for_client, int(self.mode))
            self.look(seg.flags, seg.ack, seg.wnd)
        if actions & lib.FTT_ACT_NUDGE:
            seg = self.built(lib.ftt_core_build_nudge)
            self.look(seg.flags, seg.ack, seg.wnd)
        if actions & lib.FTT_ACT_RELEASE:
            self.release()

    def release(self) -> None:
        """Ask again for all that is held, in order."""
        while self.held:
            seg = self.held[0]
            verdict = lib.ftt_core_gate(self.state, seg, self.env(), self.edit)
            if verdict == lib.FTT_HOLD:
                break
            if verdict == lib.FTT_PASS:
                self.show(seg)
            self.held.pop(0)
        self.state.held_since_ns = self.now if self.held else 0

    def from_peer(self, kind: int, rcv: int, room: int, sent: int, flags: int, hole: int) -> None:
        """The backup tells where it stands."""
        base, ours = self.hand["irs"] + 1, self.hand["service_iss"] + 1
        if kind in (lib.FTT_REC_OPENED, lib.FTT_REC_COMMIT):
            self.committed = max(self.committed, rcv)
        self.peer_reset |= kind == lib.FTT_REC_COMMIT and flags & lib.FTT_REC_RST != 0
        record = self.record(
            kind, rcv_nxt=(base + rcv) & MASK, edge=(base + rcv + room) & MASK, snd_nxt=(ours + sent) & MASK,
            flags=flags, hole_end=(base + rcv + hole) & MASK,
        )  # fmt: skip
        self.act(lib.ftt_core_primary_record(self.state, record, self.env()))

    def do(self, what: str, *values: Any) -> None:
        """One move of a test."""
        match what:
            case "client":
                at, length, acked, wnd, flags = values
                self.step(self.client(at, length, acked, wnd=wnd, flags=flags))
                self.act(self.edit.actions)
            case "server":
                at, length, acked, wnd, flags = values
                self.from_server(self.server(at, length, acked, wnd=wnd, flags=flags))
            case "peer":
                self.from_peer(*values)
            case "time":
                self.now += values[0] * MS
                if self.mode is EngineMode.PAIRED:
                    self._env.vouched = values[1]
                    self.act(lib.ftt_core_flow_tick(self.state, self.env()))
                self.release()
            case "detach" if self.state.protection == Protection.PROTECTED:
                self.act(lib.ftt_core_flow_detach(self.state, 7, self.now))
            case "alone" if self.mode is EngineMode.PAIRED:
                self.mode = EngineMode.SOLO
                self.act(lib.ftt_core_flow_solo(self.state))


CLIENT_SAYS = st.tuples(st.just("client"), NEAR, LENGTHS, NEAR, U16, CLIENT_FLAGS)
SERVER_SAYS = st.tuples(st.just("server"), NEAR, LENGTHS, NEAR, U16, LOCAL_FLAGS)
PEER_FLAGS = st.sampled_from((0, 0, 0, lib.FTT_REC_FIN, lib.FTT_REC_RST, lib.FTT_REC_HOLE))
WHERE = (NEAR, st.integers(0, 300_000), NEAR, PEER_FLAGS, st.integers(1, 3000))
COMMITS = st.tuples(st.just("peer"), st.just(lib.FTT_REC_COMMIT), *WHERE)
ANSWERS = st.tuples(
    st.just("peer"),
    st.sampled_from((lib.FTT_REC_OPENED, lib.FTT_REC_OPENED, lib.FTT_REC_REFUSED, lib.FTT_REC_DETACHED)),
    *WHERE,
)
TIME = st.tuples(st.just("time"), st.sampled_from((1, 6, 25, 60)), st.booleans())
CHANGES = st.sampled_from((("detach",), ("alone",)))
OPENED = ("peer", lib.FTT_REC_OPENED, 0, 65535, 0, 0, 1)
MOVES = st.lists(
    st.one_of(CLIENT_SAYS, SERVER_SAYS, SERVER_SAYS, COMMITS, COMMITS, ANSWERS, TIME, CHANGES), max_size=30
)


@settings(max_examples=400)
@given(handshakes(), MOVES)
def test_nothing_is_acknowledged_or_promised_in_vain(hand: dict[str, int], moves: list[Any]) -> None:
    """While the backup protects the flow, and neither its stack nor the client has reset it, no
    acknowledgement goes beyond what it told to have; while it is asked (to follow, to let go) nothing goes
    at all; and the client's right edge never moves back."""
    node = Primary(hand)
    node.do(*OPENED)
    for move in moves:
        node.do(*move)


@settings(max_examples=200)
@given(handshakes(), MOVES)
def test_nothing_goes_before_the_backup_follows(hand: dict[str, int], moves: list[Any]) -> None:
    """The same from the handshake on, with an answer of the backup at any time, or none."""
    node = Primary(hand)
    for move in moves:
        node.do(*move)


# ---- the backup


class Backup(Endpoint):
    """The node that follows, and takes over at "takeover"."""

    def __init__(self, hand: dict[str, int]) -> None:
        super().__init__(hand, EngineMode.BACKUP)
        self.sent = 0  # what the local stack has sent, as offset
        self.told = 0  # what it was told that the client has
        self.known = 0  # how far the primary is known to have sent
        self.promised: int | None = None
        self.shown = 0
        opening = self.record(
            lib.FTT_REC_OPEN, service_iss=hand["service_iss"], tsval=hand["service_ts"],
            wscale=hand["service_wscale"], flags=lib.FTT_REC_TS | lib.FTT_REC_WSCALE,
        )  # fmt: skip
        lib.ftt_core_backup_open(self.state, opening, self.env())
        assert self.step(self.synack) == lib.FTT_DROP and self.edit.actions & lib.FTT_ACT_OPENED
        assert self.state.hard.service_wscale == hand["service_wscale"]

    def tell(self, ack: int) -> None:
        """The local stack gets an acknowledgement, in its own space."""
        told = ahead(ack, (self.hand["local_iss"] + 1) & MASK)
        assert told <= self.sent, "the stack would drop it: it has not sent that yet"
        self.told = max(self.told, told)

    def act(self, actions: int) -> None:
        """Do what the engine does with what the core asks for."""
        if actions & lib.FTT_ACT_INJECT:
            self.tell(self.stack_hears().ack)
        if actions & lib.FTT_ACT_ACK_CLIENT:
            seg = self.built(lib.ftt_core_build_for_client, int(self.mode))
            self.show(seg.ack, seg.wnd)

    def show(self, ack: int, wnd: int) -> None:
        """The client sees a window, after the takeover."""
        acked = ahead(ack, (self.hand["irs"] + 1) & MASK)
        edge = acked + (wnd << self.hand["service_wscale"])
        cut = 1 << self.hand["service_wscale"]
        if self.promised is not None and acked >= self.shown:
            assert edge > self.promised - cut, "the right edge moved back"
        self.promised = max(edge, self.promised or edge)
        self.shown = max(self.shown, acked)

    def do(self, what: str, *values: Any) -> None:
        """One move of a test."""
        match what:
            case "client":
                at, length, acked, wnd, flags = values
                seg = self.client(at, length, acked, wnd=wnd, flags=flags)
                before, edit = self.state.client_acked, self.edit
                verdict = self.step(seg)
                if ahead(self.state.client_acked, before):  # not more than somebody is known to have sent
                    assert acked <= self.known or self.mode is not EngineMode.BACKUP
                if verdict == lib.FTT_HOLD:  # here the mirror loses it
                    assert acked > min(self.sent, self.known), "it answers nothing that is not said or known"
                elif verdict == lib.FTT_DROP:
                    assert edit.drop == lib.FTT_DROP_REFUSED
                elif flags & lib.TCP_ACK:
                    self.tell(edit.ack if edit.change & lib.FTT_EDIT_ACK else seg.ack)
            case "server":
                at, length, acked, wnd, flags = values
                seg = self.server(at, length, acked, wnd=wnd, flags=flags)
                if not flags & lib.TCP_RST:
                    self.sent = max(self.sent, at + length + bool(flags & lib.TCP_FIN))
                verdict = self.step(seg)
                assert self.mode is not EngineMode.BACKUP or verdict == lib.FTT_DROP
                if verdict == lib.FTT_PASS and flags == lib.TCP_ACK:
                    self.show(seg.ack, self.edit.wnd if self.edit.change & lib.FTT_EDIT_WND else seg.wnd)
            case "probe":
                acked, wnd = values
                record = self.record(
                    lib.FTT_REC_PROBE,
                    client_acked=(self.hand["service_iss"] + 1 + acked) & MASK,
                    client_wnd=wnd,
                )
                if self.mode is not EngineMode.BACKUP:
                    return
                self.known = max(self.known, acked)
                kept = ffi.new("struct ftt_retained *")
                self.edit.actions = lib.ftt_core_backup_probe(self.state, record, kept)
            case "output" | "discard" if self.mode is not EngineMode.BACKUP:
                return
            case "output":
                (sent,) = values
                self.known = max(self.known, sent)
                snd_nxt = (self.hand["service_iss"] + 1 + sent) & MASK
                record = self.record(lib.FTT_REC_OUTPUT, snd_nxt=snd_nxt)
                self.edit.actions = lib.ftt_core_backup_output(self.state, record)
            case "discard":
                at, acked = values
                record = self.record(
                    lib.FTT_REC_DISCARD,
                    seq=(self.hand["irs"] + 1 + at) & MASK,
                    ack=(self.hand["service_iss"] + 1 + acked) & MASK,
                )
                lib.ftt_core_backup_discard(self.state, record)
                return
            case "takeover" if self.mode is EngineMode.BACKUP:
                self.mode = EngineMode.SOLO
                self.edit.actions = lib.ftt_core_flow_takeover(self.state, self.env())
            case _:
                return
        self.act(self.edit.actions)


FOLLOWED = st.lists(
    st.one_of(
        CLIENT_SAYS, CLIENT_SAYS, SERVER_SAYS, SERVER_SAYS, st.tuples(st.just("probe"), NEAR, U16),
        st.tuples(st.just("output"), NEAR), st.tuples(st.just("discard"), NEAR, NEAR),
        st.just(("takeover",)),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=400)
@given(handshakes(), FOLLOWED)
def test_a_backup_is_silent_and_its_stack_hears_only_of_what_it_sent(
    hand: dict[str, int], moves: list[Any]
) -> None:
    """Whatever the client has from the old primary, before the takeover and after it; and what the new
    owner promises to the client it does not take back."""
    node = Backup(hand)
    for move in moves:
        node.do(*move)


# ---- translation


@given(
    handshakes(),
    st.sampled_from((4, 6)),
    st.integers(0, 100_000),
    st.integers(1, 1000),
    st.integers(0, 1000),
    st.lists(st.integers(0, 5), max_size=4, unique=True),
    U16,
)
def test_what_the_client_answers_is_what_the_stack_said(
    hand: dict[str, int], family: int, at: int, size: int, later_ms: int, blocks: list[int], wnd: int
) -> None:
    """A node that took over shows its stack's bytes in the client's space. What the client acknowledges,
    selects and echoes of them comes back in the stack's own, for any distance between the spaces."""
    node = Backup(hand)
    node.do("server", 0, at, 0, wnd, lib.TCP_ACK)  # byte for byte what the old primary sent
    node.do("client", 0, 0, at, 65535, lib.TCP_ACK)
    node.do("takeover")
    local_seq, local_ts = (hand["local_iss"] + 1 + at) & MASK, (hand["local_ts"] + later_ms) & MASK
    out = segment(
        family, b"x" * size, to_service=False, seq=local_seq, ack=(hand["irs"] + 1) & MASK, flags="A",
        window=wnd, options=[("Timestamp", (local_ts, 7))],
    )  # fmt: skip
    shown = layers(through(node, out, FROM_SERVER))[1]
    assert shown.seq == (hand["service_iss"] + 1 + at) & MASK
    shown_ts = dict(shown.options)["Timestamp"][0]
    assert ahead(shown_ts, hand["service_ts"]) >= later_ms, "the old primary was further (PAWS)"
    edges = tuple((shown.seq + 100 * edge) & MASK for edge in sorted(blocks)[: len(blocks) // 2 * 2])
    answer = segment(
        family, seq=(hand["irs"] + 1) & MASK, ack=(shown.seq + size) & MASK, flags="A", window=wnd,
        options=[("Timestamp", (9, shown_ts))] + ([("SAck", edges)] if edges else []),
    )  # fmt: skip
    heard = layers(through(node, answer, FROM_CLIENT))[1]
    assert heard.ack == (local_seq + size) & MASK
    assert dict(heard.options)["Timestamp"] == (9, local_ts)
    local_edges = tuple((local_seq + 100 * edge) & MASK for edge in sorted(blocks)[: len(blocks) // 2 * 2])
    assert dict(heard.options).get("SAck", ()) == local_edges
    assert (heard.seq, heard.window) == ((hand["irs"] + 1) & MASK, wnd)


def through(node: Endpoint, packet: bytes, direction: int) -> bytes:
    """The packet as the node lets it go on."""
    kind, pkt, seg = parse(packet)
    assert kind == lib.FTT_PARSED_TCP
    seg.dir = direction
    assert node.step(seg) == lib.FTT_PASS
    data = bytearray(packet)
    lib.ftt_core_apply(ffi.from_buffer("uint8_t[]", data), pkt, node.edit, True)
    assert sum_is_right(bytes(data))
    return bytes(data)
