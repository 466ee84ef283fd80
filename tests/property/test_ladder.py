"""In whatever way resources fail, the order of their acts holds, and they come to rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fttcp.server.agents.ladder import Act, Ladder, Outcome, Rung, Step


class World:
    """Resources that do what they are told, fail, or were left running. What is drawn decides."""

    def __init__(self, running: list[bool]) -> None:
        self.running = list(running)

    def act(self, step: Step, luck: int) -> Outcome | None:
        """Do it; ``luck`` 0: it fails and changes nothing, 1: it fails half-way, 2: it is interrupted, 3: it
        cannot run here."""
        i = step.index
        if step.act is Act.STATUS:
            if luck == 3 and not self.running[i]:
                return Outcome(Rung.FAILED, "absent", absent=True)
            if luck in (0, 1):
                return Outcome(Rung.FAILED, "no answer")
            if luck == 2:
                return None
            return Outcome(Rung.RUNNING if self.running[i] else Rung.STOPPED, "found")
        if luck == 0:
            return Outcome(Rung.FAILED, "failed")
        self.running[i] = step.act is Act.START
        if step.act is Act.START:
            return {1: Outcome(Rung.FAILED, "half"), 2: None}.get(luck, Outcome(Rung.STARTED))
        return Outcome(Rung.FAILED, "half") if luck == 1 else Outcome(Rung.STOPPED)


def _check(ladder: Ladder, world: World, step: Step) -> None:
    """Of an act that is about to be done: what of the others may run now."""
    below, above = world.running[: step.index], world.running[step.index + 1 :]
    if step.act is Act.START:
        assert ladder.wanted and not ladder.broken
        assert all(below) and not any(above)
    elif step.act is Act.STOP:
        assert not any(above)


ORDERS = st.lists(st.sampled_from(["want", "rest", "again", *range(10)]), max_size=60)


@given(st.lists(st.booleans(), min_size=1, max_size=5), ORDERS)
def test_the_order_holds_and_all_comes_to_rest(running: list[bool], orders: list[str | int]) -> None:
    world, ladder = World(running), Ladder(len(running))
    for order in orders:
        match order:
            case "want" | "rest":
                ladder.want(order == "want")
            case "again":
                ladder.again()
            case int(luck):
                step = ladder.next()
                if step is not None:
                    _check(ladder, world, step)
                    ladder.done(step, world.act(step, luck))
    for wanted in (False, True, False):  # from now on everything succeeds
        ladder.want(wanted)
        for _ in range(4 * len(running)):
            step = ladder.next()
            if step is None:
                break
            _check(ladder, world, step)
            ladder.done(step, world.act(step, 9))
        assert ladder.next() is None
        assert world.running == [wanted] * len(running)
        assert (ladder.up, ladder.down) == (wanted, not wanted)


@given(st.integers(1, 5), st.integers(0, 4), st.sampled_from([0, 1]))
def test_a_start_that_fails_has_those_before_it_stopped_in_reverse(count: int, bad: int, luck: int) -> None:
    bad, world, ladder = bad % count, World([False] * count), Ladder(count)
    ladder.want(True)
    stopped = []
    while (step := ladder.next()) is not None:
        fails = step == Step(bad, Act.START)
        ladder.done(step, world.act(step, luck if fails else 9))
        if step.act is Act.STOP:
            stopped.append(step.index)
    assert stopped == list(range(bad, -1, -1))
    assert ladder.broken == ("failed" if luck == 0 else "half")
    assert ladder.down and world.running == [False] * count
