"""Grants and their withdrawal: while a peer may emit by one, the node that gave it is not free."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fttcp.ownership.promises import Promises

PATIENCE = 100
PEERS = (0, 1)
WAITS = st.sampled_from((0, 1, PATIENCE // 2, PATIENCE - 1, PATIENCE, 2 * PATIENCE))
SEARCH = settings(max_examples=300, stateful_step_count=30, report_multiple_bugs=False)


class World(RuleBasedStateMachine):
    """One node's promises, the beat thread that says them, and peers that make the most of what they hear.

    What the node decides is carried out some time later, but before its next step: Python may stand still in
    between, and the beat thread does not.
    """

    subject: type[Promises] = Promises

    def __init__(self) -> None:
        super().__init__()
        self.promises = self.subject(PATIENCE)
        self.now = 1000
        self.said = self.decided = 1
        self.promises.give(1)
        self.heard = [0 for _ in PEERS]
        """When the peer's last heartbeat came in; only that is answered by a grant."""
        self.used_until = [0 for _ in PEERS]
        """Until then the peer may emit by what it has heard."""

    def carry_out(self) -> None:
        self.said = self.decided

    @rule(after=WAITS, peers=st.sampled_from((0, 1, 1, 2)), told=st.booleans())
    def a_step_decides(self, after: int, peers: int, told: bool) -> None:
        self.begin(after)
        self.decided = peers
        self.promises.give(peers)
        if told:
            self.carry_out()

    @rule(after=WAITS, peers=st.sampled_from(((0,), (1,), PEERS)))
    def heartbeats_are_answered(self, after: int, peers: tuple[int, ...]) -> None:
        self.now += after
        for peer in peers:
            self.heard[peer] = self.now
            if self.said >> peer & 1:
                self.used_until[peer] = self.now + PATIENCE

    @rule(
        after=WAITS,
        peer=st.sampled_from(PEERS),
        again=st.sampled_from((0, 1, 2)),
        beats=st.booleans(),
        back=st.booleans(),
        regains=st.booleans(),
    )
    def a_peer_falls_silent(
        self, after: int, peer: int, again: int, beats: bool, back: bool, regains: bool
    ) -> None:
        """The grant is withdrawn first, whatever is true; then a step learns when the peer was heard."""
        self.begin(after)
        self.promises.silence(peer)
        self.decided &= ~(1 << peer)
        self.promises.give(self.decided)
        if beats:  # the order is not carried out yet
            self.heartbeats_are_answered(0, PEERS)
        self.begin(0)
        again &= ~(1 << peer)
        if back:
            self.promises.heard(peer, self.now)
            again |= regains << peer
        else:
            self.promises.lost(peer, self.heard[peer])
        self.decided = again
        self.promises.give(again)

    @rule(after=WAITS)
    def the_peers_shut_their_gates(self, after: int) -> None:
        """They say so, and use nothing any more that they heard before."""
        self.begin(after)
        self.used_until = [0 for _ in PEERS]
        self.said = self.decided = 0
        self.promises.void()
        self.promises.give(0)
        assert self.promises.free(self.now)

    def begin(self, after: int) -> None:
        self.carry_out()
        self.now += after
        self.promises.carried_out(self.now)

    @invariant()
    def a_peer_that_may_emit_binds_this_node(self) -> None:
        if self.promises.free(self.now):
            assert not self.said
            assert max(self.used_until) <= self.now

    @invariant()
    def what_is_outlasted_binds_no_more(self) -> None:
        """By its own word, and never later than that: a takeover waits for nothing else."""
        promises = self.promises
        if promises.given:
            assert not promises.free(self.now)
            return
        due = promises.deadline_ns(self.now)
        assert due <= self.now + PATIENCE
        assert promises.free(max(due, self.now)) or due == self.now + 1


def test_a_node_is_free_only_when_no_peer_may_emit() -> None:
    run_state_machine_as_test(World, settings=SEARCH)


class Hasty(Promises):
    """Counts from the order, not from when it was carried out for certain."""

    def give(self, peers: int) -> None:
        if self.given & ~peers:
            self._bind(0)
        self.given = peers


class Forgetful(Promises):
    """Takes a loss for the end of a grant."""

    def lost(self, peer: int, heard_ns: int) -> None:
        self.given &= ~(1 << peer)
        self._silent &= ~(1 << peer)


class Trusting(Promises):
    """Takes a heartbeat that came in after all for the end of what was granted before."""

    def heard(self, peer: int, now_ns: int) -> None:
        self._silent &= ~(1 << peer)


@pytest.mark.parametrize("wrong", [Hasty, Forgetful, Trusting])
def test_a_promise_that_is_broken_is_noticed(wrong: type[Promises]) -> None:
    world = type("World", (World,), {"subject": wrong})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(world, settings=settings(SEARCH, derandomize=True))


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_silent_peer_binds_from_its_last_heartbeat(heard: int, silent: int) -> None:
    promises = Promises(PATIENCE)
    promises.give(1)
    promises.silence(0)
    promises.give(0)
    assert not promises.free(heard + 10 * PATIENCE)  # it is not known yet when the peer was heard
    promises.carried_out(heard)
    promises.lost(0, heard)
    promises.give(0)
    assert promises.free(heard + silent) == (silent >= PATIENCE)
