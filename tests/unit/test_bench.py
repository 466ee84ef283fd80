"""The bench without a lab: which cases are chosen, the order of passes, and how systems are set up."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from click.testing import CliRunner

from lab.bench import cli, runner, systems
from lab.bench.rows import FTTCP, NATIVE, Samples
from lab.bench.scenario import Case, Measure, Record, System, chosen, matches
from lab.bench.scenarios import SCENARIOS
from lab.bench.scenarios.about import ABOUT
from lab.bench.stage import Setup, Stage
from lab.bench.systems import HAPROXY, KEEPALIVED, SYSTEMS, TWO_FLOORS
from lab.errors import LabError
from lab.hosts import Process

# ---- which cases, in which order


def case(name: str, compared: tuple[str, ...] = (NATIVE, FTTCP), **changes: object) -> Case:
    def measure(stage: Stage, system: System, record: Record) -> None:
        record.add("ms", 1.0)

    return replace(Case(name, Setup(), compared, measure, "ms", seconds=2.0), **changes)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("gap", True),
        ("gap.crash-host", True),
        ("gap.crash-host.download.10ms", True),
        ("gap.*.10ms", True),
        ("ga", False),
        ("gap.crash", False),
        ("gap.crash-host.download.10ms.more", False),
        ("echo", False),
    ],
)
def test_a_pattern_is_a_beginning_by_whole_words_or_has_stars(pattern: str, names: bool) -> None:
    assert matches("gap.crash-host.download.10ms", pattern) is names


def test_the_short_set_and_patterns_both_restrict() -> None:
    block = (case("a.x", short=True), case("a.y"), case("b.x", short=True))
    assert [each.name for each in chosen(block, (), short=False)] == ["a.x", "a.y", "b.x"]
    assert [each.name for each in chosen(block, (), short=True)] == ["a.x", "b.x"]
    assert [each.name for each in chosen(block, ("a",), short=True)] == ["a.x"]


def test_in_a_pass_the_systems_of_a_case_follow_each_other() -> None:
    block = (case("a", (NATIVE, FTTCP, HAPROXY)), case("b"))
    assert [(each.name, name) for each, name in runner.turns(block, [HAPROXY])] == [
        ("a", FTTCP),
        ("a", HAPROXY),
        ("b", FTTCP),
    ]


def test_every_case_is_named_once_after_its_family_and_compares_known_systems() -> None:
    cases = [each for scenario in SCENARIOS for block in scenario.blocks for each in block]
    assert len({(each.name, each.label) for each in cases}) == len(cases)
    for scenario in SCENARIOS:
        for each in (each for block in scenario.blocks for each in block):
            assert each.name.startswith(f"{scenario.name}."), each.name
            assert set(each.systems) <= set(SYSTEMS) and FTTCP in each.systems, each.name


def test_the_short_set_is_said_to_take_less_than_ten_minutes() -> None:
    blocks = [chosen(block, (), short=True) for scenario in SCENARIOS for block in scenario.blocks]
    short = runner.Runner(blocks, cli.SHORT_PASSES, cli.SHORT_PEERS, Samples(), print, lambda: None)
    assert 60 < short.seconds() < 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "no scenario nothing"),
        (["--against", "nothing"], f"wanted are none, or some of native, haproxy, {KEEPALIVED}"),
        (["--repeat", "0"], "not in the range"),
    ],
)
def test_what_is_not_there_cannot_be_asked_for(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(cli.bench, arguments)
    assert done.exit_code == 2 and words in done.output


def test_the_list_names_cases_systems_and_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(cli.bench, ["echo", "--list", "--against", "native", "--repeat", "1"])
    assert done.exit_code == 0
    assert done.output.splitlines()[0].startswith("echo: round trips of 64 bytes and 16 KiB")
    assert done.output.splitlines()[1].startswith("  echo.64B: native, fttcp; ")
    assert done.output.splitlines()[-1].startswith("1 pass: about ")


def test_the_list_says_what_each_family_measures() -> None:
    families = {
        case.name.partition(".")[0] for each in cli.SCENARIOS for block in each.blocks for case in block
    }
    assert families == ABOUT.keys()


# ---- a run


class Rehearsal:
    """A Runner over a stage that is no lab: it notes what is done to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails: set[str] = set()
        self.samples = Samples()
        rehearsal = self

        class Stand:
            def __init__(self, setup: Setup) -> None:
                self.setup = setup

            def open(self) -> None:
                rehearsal.done.append("open")

            def close(self) -> None:
                rehearsal.done.append("close")

            def require(self, system: System) -> None:
                if system.name in rehearsal.fails:
                    raise LabError(f"{system.name}: it does not start\nmore words")

            def rate(self, mbit: float | None) -> None:
                pass

            def mend(self) -> None:
                rehearsal.done.append("mend")

            def primary(self) -> dict[str, object]:
                return {"node": "alpha", "epoch": 1}

            def events(self, node: str, since: int) -> list[dict[str, object]]:
                return []

        monkeypatch.setattr(runner, "Stage", Stand)
        monkeypatch.setattr(
            runner.programs, "missing", lambda needs: "not there" if "nowhere" in needs else ""
        )

    def run(
        self, *blocks: tuple[Case, ...], repeat: int = 2, against: tuple[str, ...] = (NATIVE,)
    ) -> list[str]:
        run = runner.Runner(
            blocks, repeat, against, self.samples, self.done.append, lambda: self.done.append("kept")
        )
        try:
            run.run()
        finally:
            self.errors = run.errors
        return [re.sub(r"^\d+/\d+ ", "", line) for line in self.done if not line.startswith("a lab")]


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    yield Rehearsal(monkeypatch)


def test_systems_take_turns_in_each_pass_in_one_lab(rehearsal: Rehearsal) -> None:
    assert rehearsal.run((case("a"),)) == [
        "open",
        "a, native: 1 ms",
        "a, fttcp: 1 ms",
        "a, native: 1 ms",
        "a, fttcp: 1 ms",
        "kept",
        "close",
    ]


def test_a_lab_lives_on_into_a_block_that_is_made_the_same(rehearsal: Rehearsal) -> None:
    other = case("c", setup=Setup(settings=("compare=false",)))
    done = rehearsal.run((case("a"),), (case("b"),), (other,), repeat=1, against=())
    assert [word for word in done if word in ("open", "close")] == ["open", "close", "open", "close"]


def test_after_a_disturbance_the_lab_is_mended(rehearsal: Rehearsal) -> None:
    done = rehearsal.run((case("a", disturbs=True),), repeat=1, against=())
    assert done == ["open", "mend", "a, fttcp: 1 ms", "kept", "close"]


def test_a_case_that_fails_costs_its_lab_and_nothing_else(rehearsal: Rehearsal) -> None:
    rehearsal.fails = {NATIVE}
    done = rehearsal.run((case("a"),), repeat=1)
    assert done == ["open", "close", "a, native: failed", "open", "a, fttcp: 1 ms", "kept", "close"]
    assert rehearsal.errors == ["a, native, pass 1: native: it does not start\nmore words"]
    native, protected = rehearsal.samples.rows()
    assert (native.n, native.notes, protected.n) == (0, ["failed: native: it does not start (1x)"], 1)


def test_what_is_not_installed_is_told_once(rehearsal: Rehearsal) -> None:
    assert rehearsal.run((case("a", needs=("nowhere",)),), against=()) == ["kept"]
    assert rehearsal.errors == ["a, fttcp: not there"]


def test_an_interrupt_leaves_no_lab_and_the_samples_so_far(rehearsal: Rehearsal) -> None:
    def interrupted(stage: Stage, system: System, record: Record) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearsal.run((case("a"), case("b", measure=interrupted)), against=())
    assert rehearsal.done[-1] == "close"
    assert [row.scenario for row in rehearsal.samples.rows()] == ["a"]


# ---- two loads at once


def halves(own: Callable[[Record], None], other: Callable[[Record], None]) -> Measure:
    """A measure of two-floors whose halves do `own` and `other` at the same time."""
    both = threading.Barrier(2, timeout=10)

    def measure(stage: Stage, system: System, record: Record) -> None:
        both.wait()
        {"10.77.0.101": own, "10.77.0.103": other}[system.address(stage)](record)

    return measure


def finds(value: float) -> Callable[[Record], None]:
    return lambda record: record.add("ms", value)


def loses(record: Record) -> None:
    record.add("ms", 3.0)
    record.note("ms", "lost: reset")


def fails(record: Record) -> None:
    raise LabError("no end after 60 s")


@pytest.mark.parametrize(
    ("own", "other", "apart", "said", "value"),
    [
        (finds(1), finds(2), 60, "1.5 ms", 1.5),
        (loses, finds(2), 60, "lost: reset", None),
        (finds(1), loses, 60, "lost: reset", None),
        (finds(1), finds(2), -1, "the two halves were not at the same time", None),
        (finds(1), fails, 60, "failed", None),
        (fails, finds(2), 60, "failed", None),
    ],
)
def test_of_two_loads_at_once_the_mean_counts_if_both_were_there_all_the_time(
    rehearsal: Rehearsal,
    monkeypatch: pytest.MonkeyPatch,
    own: Callable[[Record], None],
    other: Callable[[Record], None],
    apart: float,
    said: str,
    value: float | None,
) -> None:
    monkeypatch.setattr(systems, "APART", apart)
    block = (case("a", (TWO_FLOORS,), measure=halves(own, other)),)
    assert f"a, {TWO_FLOORS}: {said}" in rehearsal.run(block, repeat=1, against=(TWO_FLOORS,))
    (row,) = rehearsal.samples.rows()
    assert (row.system, row.median, row.n) == (TWO_FLOORS, value, int(value is not None))
    assert bool(row.notes) is (said != "1.5 ms") and bool(rehearsal.errors) is (said == "failed")


def test_threads_are_on_the_cores_that_they_are_given_and_then_on_theirs() -> None:
    usable = os.sched_getaffinity(0)
    first, last = systems.halves_of_cores()
    assert first | last <= usable and (len(usable) == 1 or not first & last)
    with Process(["sleep", "60"]) as other:
        with pytest.raises(LabError), systems.on_cores(other.pid, first), systems.on_cores(None, last):
            with Process(["sleep", "60"]) as child:
                assert os.sched_getaffinity(child.pid) == os.sched_getaffinity(0) == last
                child.kill()
            assert os.sched_getaffinity(other.pid) == first
            raise LabError("no end after 60 s")
        assert os.sched_getaffinity(other.pid) == os.sched_getaffinity(0) == usable
        with systems.on_cores(other.pid, first):
            other.kill()
            other.wait()


def test_two_loads_at_once_share_no_shaped_cable() -> None:
    cases = [each for scenario in SCENARIOS for block in scenario.blocks for each in block]
    doubled = [each for each in cases if TWO_FLOORS in each.systems]
    assert {each.name.split(".")[0] for each in doubled} == {"throughput", "echo", "http", "flows"}
    assert not any(each.mbit for each in doubled)


# ---- what is compared is set up on equal terms


def test_haproxy_checks_its_servers_as_often_as_the_pair_beats() -> None:
    stage = Stage(Setup(settings=("timing.heartbeat_ms=10", "timing.heartbeat_misses=3")))
    lines = [line.strip() for line in SYSTEMS[HAPROXY]._config(stage).splitlines()]
    check = "check inter 10ms fall 3 rise 1 on-marked-down shutdown-sessions"
    assert f"server alpha 10.77.0.1:7070 {check}" in lines
    assert f"server beta 10.77.0.2:7070 {check} backup" in lines
    assert "mode tcp" in lines and "bind :7070" in lines


def test_a_server_that_bears_no_probes_is_not_checked() -> None:
    stage = Stage(Setup(serve=("5201/tcp=iperf3 -s",), probes=False))
    lines = [line.strip() for line in SYSTEMS[HAPROXY]._config(stage).splitlines()]
    assert "server alpha 10.77.0.1:5201" in lines and "bind :5201" in lines


@pytest.mark.parametrize(("beat_ms", "interval"), [(5, "0.01"), (10, "0.01"), (20, "0.02"), (100, "0.10")])
def test_keepalived_advertises_as_often_as_vrrp_and_the_beats_allow(beat_ms: int, interval: str) -> None:
    stage = Stage(Setup(settings=(f"timing.heartbeat_ms={beat_ms}",)))
    alpha, beta = (SYSTEMS[KEEPALIVED]._config(stage, node) for node in ("alpha", "beta"))
    assert f"advert_int {interval}\n" in alpha
    assert "priority 200" in alpha and "priority 100" in beta


def test_a_setup_knows_ports_and_beats() -> None:
    setup = Setup(serve=("80/tcp,81/tcp=server",), settings=("timing.heartbeat_ms=30",))
    assert setup.ports == ["80", "81"]
    assert setup.beats == (30, 5)
