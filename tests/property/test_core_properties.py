"""Properties of the codec and of the role machine under any sequence of events."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from fttcp.core import commands as do
from fttcp.core import events as ev
from fttcp.core.model import NS_PER_MS, Body, Cause, EngineMode, Lease, Mode, Role, Settings
from fttcp.core.pair import PairMachine
from fttcp.wire import body as codec
from fttcp.wire.errors import WireError

U64 = st.integers(0, 2**64 - 1)
NAMES = st.text(min_size=1, max_size=16)
BODIES = st.builds(
    Body,
    group=NAMES,
    name=NAMES,
    role=st.sampled_from(Role),
    mode=st.sampled_from(Mode),
    epoch=U64,
    session=U64,
    healthy=st.booleans(),
    carrier=st.booleans(),
    priority=st.integers(0, 2**31 - 1),
    links=U64,
    request=U64,
    refused=U64,
    reason=st.sampled_from(Cause),
    reference=st.booleans(),
    maintenance=U64,
    offer=U64,
    yields=st.booleans(),
    seeking=st.booleans(),
    barred=st.booleans(),
    used=U64,
    offered_to=U64,
)
SMALL_BODIES = st.builds(
    Body,
    group=st.just("web"),
    name=st.just("beta"),
    role=st.sampled_from(Role),
    mode=st.sampled_from(Mode),
    epoch=st.integers(0, 8),
    session=st.sampled_from((0, 1 << 32 | 1, 2 << 32 | 1, 3 << 32 | 1, 3 << 32 | 2)),
    healthy=st.booleans(),
    carrier=st.booleans(),
    priority=st.sampled_from((50, 100, 150)),
    links=st.integers(0, 3),
    request=st.integers(0, 2),
    refused=st.integers(0, 8),
    reason=st.sampled_from(Cause),
    reference=st.booleans(),
    maintenance=st.integers(0, 4),
    offer=st.integers(0, 3),
    offered_to=st.integers(0, 1),
    mirror=st.booleans(),
)
EVENTS = st.one_of(
    st.builds(ev.PeerHeard, st.integers(1, 2)),
    st.builds(ev.PeerStated, SMALL_BODIES),
    st.builds(ev.LinkFound, st.integers(0, 1)),
    st.builds(ev.LinkLost, st.integers(0, 1)),
    st.sampled_from(
        (
            ev.ServerRecovered(),
            ev.ServerFailed(Cause.SERVER_DIED),
            ev.CarrierChanged(True),
            ev.CarrierChanged(False),
            ev.MirrorChanged(False),
            ev.MirrorChanged(True),
            ev.ReferenceChanged(True),
            ev.ReferenceChanged(False),
            ev.SwitchoverRequested(3),
            ev.FailoverRequested(9),
            ev.MaintenanceChanged(1),
            ev.MaintenanceChanged(2),
            ev.DeadlineReached(),
        )
    ),
    st.just("lost"),
    st.just("lapsed"),
)
MOVES = st.lists(st.tuples(EVENTS, st.sampled_from((0, 1, 20, 60, 250, 700))), max_size=40)
SETTINGS = Settings("web", "alpha", ("beta",), 100, 100 * NS_PER_MS, 1000, 500 * NS_PER_MS, boot_id=1)


@given(BODIES)
def test_a_body_survives_the_wire(body: Body) -> None:
    assert codec.decode(codec.encode(body)) == body


@given(st.binary(max_size=600))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    with suppress(WireError):
        codec.decode(data)


@settings(max_examples=400, deadline=None)
@given(MOVES)
def test_whatever_happens_the_orders_keep_the_invariants(moves: list[tuple[ev.Event | str, int]]) -> None:
    now = 10**12
    machine = PairMachine(SETTINGS, now)
    lease, mode, grant, epoch = Lease.NONE, EngineMode.IDLE, False, 0
    for move, wait_ms in [(ev.Started(), 0), *moves]:
        now += wait_ms * NS_PER_MS
        if move == "lost":
            event: ev.Event = ev.PeerLost(SETTINGS.patience_ns, now, now - SETTINGS.patience_ns)
        elif move == "lapsed":
            event = ev.LeaseLapsed(now)
        else:
            assert not isinstance(move, str)
            event = move
        for command in machine.step(event, now):
            assert not isinstance(command, do.Fence), command.why
            match command:
                case do.SetLease(policy=policy):
                    lease = policy
                case do.SetMode(mode=new_mode):
                    mode = new_mode
                case do.Publish(body=body, grant_to=granted):
                    grant = bool(granted)
                    assert body.epoch >= epoch
                    epoch = body.epoch
        assert not (grant and lease is not Lease.NONE)
        assert lease is Lease.NONE or mode in (EngineMode.PAIRED, EngineMode.SOLO)
        assert lease is not Lease.SELF or mode is EngineMode.SOLO
        deadline = machine.deadline_ns()
        assert deadline is not None and deadline > now
