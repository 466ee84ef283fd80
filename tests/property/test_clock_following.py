"""A clock that follows another one comes near it, whatever both run at, and is never hurried or set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fttcp.planes.clocks import Offset
from fttcp.planes.following import FARTHEST_NS, MOST_NS, ROUND_S, Step, follow
from fttcp.planes.wallclock import SLEW_PPM

MS = 1_000_000
QUIET_S = 20.0
"""After this time without a slew the delays are those of a steady clock (``Liveness.delay_ns``)."""

apart = st.integers(-400 * MS, 400 * MS)
rates = st.integers(-100, 100)
errors = st.lists(st.tuples(st.integers(0, 5 * MS), st.floats(-1, 1)), min_size=60, max_size=60)


@given(apart, rates, errors)
def test_it_comes_as_near_as_can_be_known(away_ns: int, ppm: int, measured: list[tuple[int, float]]) -> None:
    """``away_ns``: the leader is ahead; ``ppm``: it runs faster by so much; each round is measured with an
    error within its bound."""
    gained_ns = ppm * ROUND_S * 1000
    real_ns = float(away_ns)
    for error_ns, part in measured:
        step = follow("beta", Offset(real_ns + part * error_ns, error_ns), "")
        assert step.peer == "beta" and abs(step.slew_ns) <= MOST_NS
        if abs(real_ns) > 2 * error_ns:
            assert step.slew_ns * real_ns > 0, "never away from it"
        real_ns += gained_ns - step.slew_ns
    least_ns = len(measured) * (MOST_NS - abs(gained_ns))
    assert abs(real_ns) <= max(10 * MS, abs(away_ns) - least_ns) + abs(gained_ns)


@given(st.integers(-(1 << 62), 1 << 62), st.integers(0, 1 << 40), st.sampled_from(["", "chronyd"]))
def test_no_round_is_too_fast(away_ns: int, error_ns: int, keeper: str) -> None:
    step = follow("beta", Offset(away_ns, error_ns), keeper)
    takes_s = abs(step.slew_ns) / 1000 / SLEW_PPM
    assert takes_s + QUIET_S <= ROUND_S
    if keeper or abs(away_ns) > FARTHEST_NS:
        assert bool(step.why) is not bool(keeper) and not step.slew_ns and not step.peer


def test_nobody_is_followed_without_need() -> None:
    near = Offset(0.5 * MS, MS)
    assert follow(None, Offset(9 * MS, MS), "") == follow(None, None, "chronyd") == Step()
    assert follow("beta", None, "") == Step()
    assert follow("beta", near, "") == Step("beta")
    assert follow("beta", Offset(-9.0 * MS, MS), "").slew_ns == -9 * MS
