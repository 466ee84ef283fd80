"""The campaign's draws and figures."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from lab.campaign import TOPOLOGIES, Campaign, Choice, placed, plan, run_seeds
from lab.experiment import DISTURBANCES, Case, Outcome, turns
from lab.failures import client_of, excused, lost_as_told
from lab.lifecycle import Lab
from lab.speakers import together
from lab.study.scene import scenes_of
from lab.tally import Report, again, percentiles, summary
from lab.workloads.registry import SETS, USUAL, WORKLOADS, serve_specs


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


def test_further_failures_leave_the_first_one_alone() -> None:
    """They are drawn from the same faults, and a run that is done again has the same ones."""
    one, three = plan(42, Choice()), plan(42, Choice(), 3)
    assert (three.workload, three.fault, three.moment_s) == (one.workload, one.fault, one.moment_s)
    assert len(three.then) == 2 and one.then == () and three.duration_s > one.duration_s
    words = shlex.split(again(three))
    pool = words[words.index("--fault") + 1].split(",")
    assert words[words.index("--failures") + 1] == "3"
    assert plan(42, Choice([three.workload], pool, [three.family]), 3) == three
    assert all(fault != "none" for seed in range(100) for fault, _ in plan(seed, Choice(), 4).then)


def test_only_a_connection_that_was_not_protected_may_be_lost() -> None:
    lost = {client_of("10.77.0.9:4321 > 10.77.0.100:80/tcp"), client_of("[fd77::9]:43 > [fd77::100]:80/tcp")}
    assert lost == {"10.77.0.9:4321", "fd77::9:43"}
    assert excused("reset", ["10.77.0.9:4321: Connection reset by peer while receiving"], lost)
    assert excused("stall", ["fd77::9:43: nothing for 5 s while receiving"], lost)
    assert not excused("reset", ["10.77.0.9:4321: reset", "10.77.0.9:4322: reset"], lost)
    assert not excused("reset", ["10.77.0.9:432: reset"], lost)
    assert not excused("wrong", ["10.77.0.9:4321: byte 7 of the stream is wrong"], lost)
    udp = ["no answer within 5.0 s while reading block 656"]
    assert excused("stall", udp, {*lost, "udp"}) and not excused("stall", udp, lost)
    assert not excused("reset", ["10.77.0.9:4322: reset"], {*lost, "udp"})
    assert not excused("reset", ["10.77.0.9:4321: reset"], set()) and not excused("stall", [], lost)


def test_owners_take_turns() -> None:
    assert turns(["alpha", "beta", "beta", "alpha", "alpha"]) == ["alpha", "beta", "alpha"]


def test_two_hundred_runs_meet_every_workload_and_fault() -> None:
    """Nothing of what is usual is left out of a campaign of 200 runs with seed 1."""
    cases = [plan(seed, Choice()) for seed in run_seeds(1, 200)]
    assert {case.workload for case in cases} == set(USUAL)
    assert {case.fault for case in cases} == set(DISTURBANCES)


def test_servers_that_are_kept_in_step_are_asked_for() -> None:
    """Each workload is in one set; those of servers that draw random numbers bring the setting with them."""
    assert sorted(name for names in SETS.values() for name in names) == sorted(WORKLOADS)
    for names, settings in ((SETS["tls"], ("lockstep=connection", "workers=2")), (USUAL, ("workers=2",))):
        series = Campaign(Lab("never"), Path(), ("workers=2",), names)
        assert (series.settings, tuple(series.report.settings)) == (settings, ("workers=2",))


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


def test_a_run_beside_servers_in_step_is_done_again_in_step() -> None:
    """By itself its workload would not ask for that."""
    series = Campaign(Lab("never"), Path(), ("workers=2",), ("put", "tls13-put"))
    assert tuple(series.report.settings) == series.settings == ("lockstep=connection", "workers=2")


def test_a_run_is_done_again_with_all_its_settings() -> None:
    """The line is what a shell needs: the settings come out of it as they went in."""
    settings = ("timing={ heartbeat_ms = 10 }", 'divergence="detach"', "workers=2")
    words = shlex.split(again(plan(42, Choice()), settings))
    assert [words[i + 1] for i, word in enumerate(words) if word == "--set"] == list(settings)


def test_a_run_is_done_again_in_its_topology() -> None:
    """Where the client was is a part of the run, drawn for itself; the usual place need not be named."""
    cases = [plan(seed, Choice(topologies=list(TOPOLOGIES))) for seed in run_seeds(1, 50)]
    assert {case.topology for case in cases} == set(TOPOLOGIES)
    for case in cases:
        words = shlex.split(again(case))
        named = words[words.index("--topology") + 1] if "--topology" in words else "segment"
        assert named == case.topology
        alone = Choice([case.workload], [case.fault], [case.family], [case.topology])
        assert plan(case.seed, alone) == case


def test_a_run_of_a_file_is_done_again_with_it() -> None:
    words = shlex.split(again(plan(42, Choice(["mine"])), (), "my servers.toml"))
    assert words[:4] == ["fttcp", "lab", "campaign", "my servers.toml"]
    assert words[words.index("--workload") + 1] == "mine" and "--family" not in words


def test_what_was_lost_is_excused_only_if_nodes_had_told() -> None:
    """A client that names no connection, at a takeover: what nodes said of them all counts. A silence, or a
    wrong byte, is a failure whatever they said."""
    lost = {"ok": False, "kind": "closed", "why": "status 56"}
    quiet: dict[str, object] = {"nodes": []}
    group = {"name": "lab", "counters": {"unverified_resets": 1}}
    unlike = {"nodes": [{"node": "beta", "alive": True, "groups": [group]}]}
    assert lost_as_told(lost, {}, {}, quiet) == ""
    assert lost_as_told(lost, {"10.77.0.9:4321": "detached, not renewed"}, {}, quiet) == (
        "status 56 (detached, not renewed)"
    )
    assert "detached, end" in lost_as_told(lost, {}, {"end": 1}, quiet)
    assert "not known to be equal" in lost_as_told(lost, {}, {}, unlike)
    for kind in ("wrong", "stall"):
        assert lost_as_told(lost | {"kind": kind}, {"10.77.0.9:4321": "detached"}, {"end": 1}, unlike) == ""
    assert lost_as_told({"ok": True, "kind": "", "why": ""}, {"10.77.0.9:4321": "detached"}, {}, quiet) == ""


def test_several_clients_have_one_report() -> None:
    """A wrong byte of any comes first, and an end, which may have an excuse, last. The longest gap counts."""
    good = {"ok": True, "kind": "", "why": "", "errors": [], "gap_ms": 90.0}
    late = {"ok": False, "kind": "stall", "why": "late", "errors": ["late"], "gap_ms": 5.0}
    wrong = {"ok": False, "kind": "wrong", "why": "byte 7", "errors": ["byte 7"], "resets": 1}
    ended = late | {"kind": "closed", "why": "status 56", "errors": ["status 56"]}
    assert together([good]) == good
    assert together([ended, late])["kind"] == together([late, good, ended])["kind"] == "stall"
    told = together([good, late, wrong])
    assert (told["ok"], told["kind"], told["why"]) == (False, "wrong", "byte 7; late")
    assert (told["gap_ms"], told["resets"], told["errors"]) == (90.0, 1, ["byte 7", "late"])


def test_a_client_that_measures_bears_no_longer_silence_than_the_run(tmp_path: Path) -> None:
    file = tmp_path / "measured.toml"
    file.write_text('name = "measured"\nclient = [{ measure = "echo" }]\n')
    scene = scenes_of(file, tmp_path)["measured"]
    (speaker,) = scene.speakers(Case("measured", "crash-host"), 5.0)
    assert [word for word in speaker.words if word.startswith("--patience")] == ["--patience=5.0"]


def test_no_cookies_where_segments_overtake_each_other() -> None:
    """With them Linux resets a connection whose data overtakes the acknowledgement of its SYN."""
    assert [name for name, topology in TOPOLOGIES.items() if topology.reorders] == ["wide"]
    case = Case("put", "crash-host", cookies=True)
    assert placed(case).cookies
    assert not placed(replace(case, topology="wide")).cookies
    assert not placed(replace(case, fault="link-client")).cookies


def test_a_link_that_loses_frames_has_less_to_carry() -> None:
    """48 MB both ways took longer than a run may last, far away over a bad link."""
    case = Case("put", "crash-host", topology="wide")
    assert (placed(case).client, placed(case).rate) == ("far", case.rate)
    assert all(placed(replace(case, fault=f)).rate < case.rate for f in ("loss-client", "link-client"))


def test_flows_that_were_let_go_are_told() -> None:
    """They are counted by reason over all runs, and a run that had some is listed though it survived."""
    report = Report(settings=("workers=2",))
    report.add(Outcome(Case("echo", "none", seed=3), ok=True))
    report.add(Outcome(Case("many", "none", seed=4), ok=True, detached={"commit-lag": 2}, directory="here"))
    failed = Outcome(Case("echo", "crash-host", seed=5), detached={"commit-lag": 1, "peer-end": 1})
    failed.fail("reset", "by the peer")
    report.add(failed)
    told = report.as_dict()
    assert told["detached"] == {"commit-lag": 3, "peer-end": 1}
    assert [(run["seed"], run["detached"]) for run in told["detached_runs"]] == [
        (4, {"commit-lag": 2}),
        (5, {"commit-lag": 1, "peer-end": 1}),
    ]
    text = summary(told)
    assert "2 of 3 runs survived, 0 with wrong bytes, flows detached: 3 commit-lag, 1 peer-end" in text
    assert "evidence in here" in text and "--seed 4" in text and "--set workers=2" in text


def test_it_is_told_which_connections_went_on() -> None:
    """Of the runs in which another node took over; one in which a connection was reset is listed."""
    report = Report()
    report.add(Outcome(Case("tls13-down", "crash-host", seed=3), ok=True, in_step=True))
    report.add(Outcome(Case("tls13-down", "cut-peer", seed=4), ok=True, in_step=True))
    client = {"resets": 1, "errors": ["by the peer"]}
    report.add(Outcome(Case("tls13-down", "crash-host", seed=5), ok=True, in_step=True, client=client))
    failed = Outcome(Case("ssh-up", "crash-host", seed=6), in_step=True, client=client)
    failed.fail("closed", "by the server")
    report.add(failed)
    report.add(Outcome(Case("unlike-content", "crash-host", seed=7), ok=True, client=client))
    told = report.as_dict()
    assert told["taken_over"] == {"tls13-down": 2, "ssh-up": 1}
    assert told["went_on"] == {"tls13-down": 1, "ssh-up": 0}
    ended = Outcome(Case("mine", "crash-host", seed=8), ok=True, in_step=True, excused="status 56 (detached)")
    report.add(ended)
    assert (report.taken_over["mine"], report.went_on["mine"]) == (1, 0)
    assert [(run["seed"], run["resets"]) for run in told["cut_runs"]] == [(5, 1)]
    assert "with one: 1 of 3 (ssh-up 0/1, tls13-down 1/2)" in summary(told)


def test_percentiles() -> None:
    """Nearest rank; None when there is nothing."""
    assert percentiles([]) == {"p50": None, "p99": None, "max": None}
    assert percentiles([float(n) for n in range(101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}


def test_every_port_is_served_once() -> None:
    """No two servers of the whole set share a port."""
    ports = [spec.split("=")[0] for spec in serve_specs(WORKLOADS)]
    assert len(ports) == len(set(ports))
