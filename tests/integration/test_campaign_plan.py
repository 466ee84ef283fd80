"""The campaign's draws and figures."""

from __future__ import annotations

from lab.campaign import Choice, Report, again, percentiles, plan, run_seeds
from lab.experiment import DISTURBANCES, Case, Outcome
from lab.workloads.registry import WORKLOADS, serve_specs


def test_a_run_comes_from_its_own_seed() -> None:
    """The first run of a campaign with a run's seed is that run."""
    seeds = run_seeds(7, 200)
    assert len(set(seeds)) == 200
    assert [plan(run_seeds(seed, 1)[0], Choice()) for seed in seeds] == [
        plan(seed, Choice()) for seed in seeds
    ]


def test_filters_leave_the_other_draws_alone() -> None:
    """A run that is done again with its workload and fault given has the same moment, family and options."""
    whole = plan(42, Choice())
    alone = plan(42, Choice((whole.workload,), (whole.fault,), (whole.family,)))
    assert alone == whole
    assert f"--seed 42 --workload {whole.workload} --fault {whole.fault}" in again(whole)


def test_two_hundred_runs_meet_every_workload_and_fault() -> None:
    """Nothing is left out of a campaign of 200 runs with seed 1."""
    cases = [plan(seed, Choice()) for seed in run_seeds(1, 200)]
    assert {case.workload for case in cases} == set(WORKLOADS)
    assert {case.fault for case in cases} == set(DISTURBANCES)


def test_report() -> None:
    """Failures are told with their seed; a run with wrong bytes is counted as such."""
    report = Report()
    report.add(Outcome(Case("echo", "crash-host", seed=3), ok=True, gap_ms=50.0))
    bad = Outcome(Case("echo", "switchover", seed=4))
    bad.fail("wrong", "byte 7")
    report.add(bad)
    told = report.as_dict()
    assert (told["runs"], told["survived"], told["wrong_bytes"]) == (2, 1, 1)
    assert told["gap_ms"] == {"p50": 50.0, "p99": 50.0, "max": 50.0}
    failure = told["failures"][0]
    assert (failure["seed"], failure["workload"], failure["fault"]) == (4, "echo", "switchover")
    assert "byte 7" in failure["why"]


def test_percentiles() -> None:
    """Nearest rank; None when there is nothing."""
    assert percentiles([]) == {"p50": None, "p99": None, "max": None}
    assert percentiles([float(n) for n in range(101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}


def test_every_port_is_served_once() -> None:
    """No two servers of the whole set share a port."""
    ports = [spec.split("=")[0] for spec in serve_specs()]
    assert len(ports) == len(set(ports))
