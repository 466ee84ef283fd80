"""The judge of servers whose copies differ: what one server might have sent is right, all else is not."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from lab.workloads.records import COPIES, KINDS, Plan, Reader, WrongStreamError

COUNT = 100
ALPHA, BETA = COPIES


def stream(plan: Plan, copy: str, count: int = COUNT) -> bytes:
    return b"".join(plan.record(number, copy) for number in range(count))


def judge(plan: Plan, data: bytes, seed: int = 1, takeovers: int = 1) -> Reader:
    """Give a reader the data in pieces of random sizes."""
    reader, chance, at = Reader(plan, takeovers), Random(seed), 0
    while at < len(data):
        size = chance.choice((1, 7, 500, 5000))
        reader.take(data[at : at + size])
        at += size
    return reader


def plans(kind: str) -> list[Plan]:
    return [
        Plan(seed, kind, often, size)
        for seed, often, size in itertools.product((1, 2), (20, 100), (1, 60, 900))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_each_copy_alone_is_right(kind: str) -> None:
    for plan, copy in itertools.product(plans(kind), COPIES):
        reader = judge(plan, stream(plan, copy))
        assert (reader.number, reader.between, reader.switches) == (COUNT, True, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_differ_as_their_plan_says(kind: str) -> None:
    """Both sometimes; in length by 1 to 100, or not at all."""
    for plan in plans(kind):
        pairs = [(plan.record(n, ALPHA), plan.record(n, BETA)) for n in range(640)]
        apart = [(len(one) - len(other)) for one, other in pairs if one != other]
        assert 0 < len(apart) < 500
        assert {plan.author(n) for n in range(640)} == {"", *COPIES}
        assert all(1 <= abs(length) <= 100 if kind == "length" else not length for length in apart)


def test_one_copy_after_the_other_at_any_byte() -> None:
    """While they are equally long, a takeover may be anywhere."""
    plan = Plan(3, "content", 100, 20)
    one, other = stream(plan, ALPHA, 30), stream(plan, BETA, 30)
    assert len(one) == len(other)
    for at in range(len(one)):
        assert judge(plan, one[:at] + other[at:]).number == 30
        assert judge(plan, other[:at] + one[at:]).between


def test_a_copy_that_was_left_is_not_heard_again() -> None:
    plan = Plan(3, "content", 100, 30)
    one, other = stream(plan, ALPHA), stream(plan, BETA)
    third = len(one) // 3
    twice = one[:third] + other[third : 2 * third] + one[2 * third :]
    with pytest.raises(WrongStreamError, match="again"):
        judge(plan, twice)
    assert judge(plan, twice, takeovers=2).between, "which it is after a second takeover"


def test_a_shifted_stream_is_wrong_wherever_it_begins() -> None:
    """The takeover of a connection whose copies are not equally long: a gap or an overlap."""
    plan = Plan(4, "length", 100, 60)
    one, other = stream(plan, ALPHA), stream(plan, BETA)
    shifted, places = 0, (0, 0)
    for number in range(COUNT):
        if places[0] != places[1]:
            at = max(places) + number % 40
            shifted += 1
            with pytest.raises(WrongStreamError):
                judge(plan, one[:at] + other[at : at + 200])
        places = (places[0] + len(plan.record(number, ALPHA)), places[1] + len(plan.record(number, BETA)))
    assert shifted > COUNT // 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_copy_sends_is_wrong(kind: str) -> None:
    plan = Plan(5, kind, 20, 100)
    right = stream(plan, ALPHA)
    chance = Random(9)
    for _ in range(30):
        at = chance.randrange(len(right) - 200)
        changed = right[:at] + bytes([right[at] ^ (1 << chance.randrange(8))]) + right[at + 1 :]
        missing = right[:at] + right[at + chance.randint(1, 100) :]
        twice = right[:at] + right[at - min(at, chance.randint(1, 100)) :]
        for wrong in (changed, missing, twice):
            if wrong != right:
                with pytest.raises(WrongStreamError):
                    judge(plan, wrong)


def test_a_whole_record_too_few_or_too_many_is_wrong() -> None:
    plan = Plan(6, "length", 20, 100)
    pieces = [plan.record(number, BETA) for number in range(40)]
    for wrong in (pieces[:10] + pieces[11:], pieces[:10] + pieces[9:]):
        with pytest.raises(WrongStreamError, match="record 10"):
            judge(plan, b"".join(wrong))


def test_a_cut_record_is_no_end() -> None:
    plan = Plan(7, "length", 20, 100)
    assert not judge(plan, stream(plan, ALPHA)[:-1]).between


@pytest.mark.parametrize(
    "line", ["", "1 length 5", "1 other 5 100", "1 length 5 0", "1 length 5 40000", "a length 5 5"]
)
def test_a_plan_that_is_none(line: str) -> None:
    with pytest.raises(ValueError):
        Plan.parse(line)


def test_a_plan_comes_through_its_line() -> None:
    plan = Plan(1 << 29, "content", 3, 20_000)
    assert Plan.parse(plan.line()) == plan
