"""Which part the next life of a server has that is kept in step by its calls, and when that begins."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as some

from fttcp.group.lives import Life, Part, Situation, begins_anew, part_of_next
from fttcp.ownership.model import PRIMARY_PHASES, Phase

SITUATIONS = some.builds(
    Situation, some.sampled_from(Phase), some.booleans(), some.sampled_from((0, 1, 2)), some.booleans()
)
LIVES = some.builds(
    Life, some.sampled_from(Part), some.sampled_from((0, 1, 2)), some.booleans(), some.booleans()
)


def next_life(now: Situation) -> Life:
    return Life(part_of_next(now), now.run)


@given(SITUATIONS)
def test_a_life_that_begins_now_is_of_use_now(now: Situation) -> None:
    """Else it would begin again and again."""
    if now.phase not in (Phase.STOPPED, Phase.FENCED):
        assert not begins_anew(next_life(now), now)


@given(LIVES, SITUATIONS)
def test_whoever_serves_never_loses_what_its_server_was_told(life: Life, now: Situation) -> None:
    """A leader, and a follower that was told something, are not ended by a node that serves."""
    now = dataclasses.replace(now, owner=False)
    if now.phase in PRIMARY_PHASES and (life.part is Part.LEADER or life.given):
        assert not begins_anew(life, now)


@given(LIVES, SITUATIONS)
def test_nobody_is_ended_by_a_takeover(life: Life, now: Situation) -> None:
    """The owner is lost, or hands over, while this node follows: its server is what clients go on with."""
    now = dataclasses.replace(now, phase=Phase.FOLLOWING, owner=False)
    if life.given or life.part is Part.LEADER:
        assert not begins_anew(life, now)


@given(LIVES, SITUATIONS)
def test_a_server_that_serves_does_not_wait_for_a_leader(life: Life, now: Situation) -> None:
    """One that was told nothing would wait for ever."""
    now = dataclasses.replace(now, owner=False)
    if now.phase in PRIMARY_PHASES | {Phase.LISTENING} and life.part is Part.FOLLOWER and not life.given:
        assert begins_anew(life, now) and part_of_next(now) is Part.LEADER


@given(LIVES, some.sampled_from((1, 2)))
def test_beside_a_leader_whose_calls_are_known_a_server_follows(life: Life, run: int) -> None:
    """... that one, and from its first call on."""
    now = Situation(Phase.FOLLOWING, owner=True, run=run, leads=True)
    follows = life.part is Part.FOLLOWER and not life.ended and life.of == run
    if not life.given and life.part is Part.FOLLOWER:
        assert begins_anew(life, now) is life.ended
    else:
        assert begins_anew(life, now) is not follows
    assert part_of_next(now) is Part.FOLLOWER


def test_a_leader_whose_calls_are_not_known_any_more() -> None:
    """Whoever follows already goes on; nobody else begins to."""
    now = Situation(Phase.FOLLOWING, owner=True, run=1, leads=False)
    assert not begins_anew(Life(Part.FOLLOWER, 1, given=True), now)
    assert begins_anew(Life(Part.FOLLOWER, 1), now)
    assert begins_anew(Life(Part.FOLLOWER, 1, given=True, ended=True), now)
    assert not begins_anew(Life(Part.LEADER), now)
    assert part_of_next(now) is Part.LEADER
