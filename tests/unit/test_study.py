"""Experiments as files: what is read, which runs follow, and what is made of their results."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.errors import LabError
from lab.pcap import join, records
from lab.study import cli, figures, page
from lab.study.folder import PACKETS, Folder, lines
from lab.study.plan import read, runs, understand
from lab.study.program import words
from lab.study.run import rehearse_all
from lab.study.schema import Figure, Study
from lab.study.sequence import points

OWN = {"name": "own", "ports": "80/tcp", "command": "true"}
FIRST: dict[str, Any] = {"name": "a", "client": [{"measure": "echo"}]}


def made(**more: Any) -> Study:
    return understand(FIRST | more, "here")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"client": []}, "client"),
        (
            {"client": [{"measure": "ping"}]},
            "client[0].measure: Invalid enum value 'ping'; wanted is one of both",
        ),
        ({"client": [{}]}, "either `measure` or `command`"),
        ({"client": [{"measure": "echo", "command": "true"}]}, "either `measure` or `command`"),
        ({"client": [{"measure": "echo", "size": 0}]}, "size"),
        (
            {"client": [{"measure": "echo", "family": 6}], "sweep": {"lab.system": ["fttcp", "haproxy"]}},
            "with lab.system = haproxy: client[0].family: lab.system = 'haproxy' serves IPv4 here",
        ),
        ({"lab": {"recipe": "ngnix"}}, "lab.recipe: 'ngnix' is none of memcached, redis"),
        ({"lab": {"recipe": "nginx", "serve": ["80/tcp=x"]}}, "lab.recipe: it takes the place of `serve`"),
        ({"client": [{"measure": "recipe"}]}, "lab.recipe: '' has no download"),
        (
            {
                "client": [{"measure": "recipe"}],
                "lab": {"recipe": "redis"},
                "sweep": {"lab.recipe": ["go"]},
            },
            "with lab.recipe = go: lab.recipe: 'go' has no download",
        ),
        (
            {"client": [{"measure": "recipe", "family": 6}], "lab": {"recipe": "redis"}},
            "client[0].family: recipes are asked by IPv4",
        ),
        ({"server": [{"name": "x"}]}, "server[0]: Object missing required field `ports`"),
        (
            {"server": [{**OWN, "prots": 1}]},
            "server[0]: there is no key `prots`; keys are name, ports, command",
        ),
        ({"server": [OWN]}, "server[0]: nothing has it; name it as lab.recipe"),
        ({"server": [OWN, OWN], "lab": {"recipe": "own"}}, "server[0].name: there is another 'own'"),
        ({"server": [{**OWN, "name": "redis"}], "lab": {"recipe": "redis"}}, "there is another 'redis'"),
        (
            {"server": [{**OWN, "files": "/nowhere"}], "lab": {"recipe": "own"}},
            "server[0].files: /nowhere is no directory",
        ),
        (
            {"server": [{**OWN, "files": "/etc", "expect": "x y", "stream": "a"}], "lab": {"recipe": "own"}},
            "server[0].expect: 'x y' is no file among `files`",
        ),
        (
            {"server": [{**OWN, "files": "/etc", "expect": "passwd"}], "lab": {"recipe": "own"}},
            "server[0].expect: it is what a `stream` prints, and there is none",
        ),
        (
            {"client": [{"measure": "recipe"}], "server": [OWN], "lab": {"recipe": "own"}},
            "lab.recipe: 'own' has no download",
        ),
        ({"client": [{"measure": "echo", "expect": "x"}]}, "client[0].expect: it is what a `command` prints"),
        ({"repetition": 3}, "there is no key `repetition`; keys are name, question, seed, repetitions"),
        (
            {"fault": [{"kind": "heal", "at": 1}]},
            "fault[0]: there is no key `at`; keys are kind, target, at_s",
        ),
        (
            {"lab": {"arbiter": "zk"}},
            "lab.arbiter: Invalid enum value 'zk'; wanted is one of etcd, none, witness",
        ),
        (
            {"client": [{"measure": "echo", "family": 5}]},
            "client[0].family: Invalid enum value 5; wanted is one of 4",
        ),
        ({"name": "../x"}, "name: wanted is at most 41 of a-z"),
        ({"sweep": {"seconds": 3}}, "sweep: wanted are keys in quotes with lists of values"),
        ({"sweep": {"timing": {"heartbeat_ms": [5]}}}, "sweep: wanted are keys in quotes with lists"),
        (
            {"sweep": {"link.delay_ms": [5]}},
            "sweep.link.delay_ms: the experiment has 0 [[link]]; add that one",
        ),
        (
            {"sweep": {"client.sise": [5]}},
            "sweep.client.sise: there is no such key in this experiment; keys are",
        ),
        ({"link": [{"link": "arbiter"}]}, "link[0].link: 'arbiter' is none of client, peer"),
        (
            {"link": [{"link": "c2"}], "segment": [{"name": "far", "hosts": ["c"]}]},
            "link[0].link: 'c2' is none of client, peer, c",
        ),
        ({"link": [{"link": "client", "delay_ms": -1}]}, "delay_ms -1: allowed are 0 to 60000"),
        ({"link": [{"link": "client", "delay_ms": 1, "jitter_ms": 2}]}, "allowed are 0 to the delay, 1"),
        ({"link": [{"link": "client", "loss_percent": 101}]}, "loss_percent 101: allowed are 0 to 100"),
        ({"link": [{"link": "client", "reorder_percent": 1}]}, "it needs delay_ms"),
        ({"link": [{"link": "peer", "rate_mbit": 0.01}]}, "rate_mbit 0.01: allowed are 0.1 to 10000"),
        ({"link": [{"link": "peer", "from": "client"}]}, "link[0].from: 'client' is none of alpha, beta"),
        ({"link": [{"link": "peer"}], "sweep": {"link.jitter_ms": [0, 3]}}, "allowed are 0 to the delay, 0"),
        ({"segment": [{"name": "far", "hosts": ["c"], "loss_percent": 101}]}, "loss_percent 101"),
        ({"segment": [{"name": "far", "hosts": ["client"]}]}, "client has its place in the lab"),
        ({"segment": [{"name": "far", "hosts": ["beta"], "by": "router"}]}, "behind a router"),
        ({"segment": [{"name": "far", "hosts": ["gamma"]}]}, "gamma is no node of this lab"),
        ({"segment": [{"name": "a", "hosts": ["c"]}, {"name": "b", "hosts": ["c"]}]}, "c is at two places"),
        ({"segment": [{"name": "svc", "hosts": ["c"]}]}, "the lab itself has a switch"),
        ({"segment": [{"name": "a-b", "hosts": ["c"]}]}, "1 to 7 letters"),
        ({"client": [{"measure": "echo", "host": "far"}]}, "'far' is none of client, alpha, beta"),
        ({"fault": [{"kind": "earthquake"}]}, "'earthquake' is none of crash-host"),
        (
            {"fault": [{"kind": "crash-host", "percent": 3}]},
            "crash-host has no key 'percent'; its keys are: target",
        ),
        ({"fault": [{"kind": "cut"}]}, "fault[0]: cut needs 'link'"),
        ({"fault": [{"kind": "cut", "link": "clinet"}]}, "fault[0].link: 'clinet' is none of client, peer"),
        (
            {"fault": [{"kind": "crash-host", "target": "gamma"}]},
            "fault[0].target: 'gamma' is none of client",
        ),
        ({"fault": [{"kind": "rules", "act": "reboot"}]}, "fault[0].act: 'reboot' is none of nft"),
        ({"fault": [{"kind": "loss", "link": "peer", "percent": 101}]}, "percent: 101: allowed are 0 to 100"),
        ({"fault": [{"kind": "link", "link": "peer", "jitter_ms": 1}]}, "allowed are 0 to the delay, 0"),
        ({"fault": [{"kind": "crash-host", "at_s": 9}]}, "the clients have ended by then; `seconds` is 4"),
        ({"fault": [{"kind": "heal", "at_s": 2}, {"kind": "heal", "at_s": 1}]}, "in their order"),
        (
            {"fault": [{"kind": "heal"}], "sweep": {"fault.kind": ["haul"]}},
            "with fault.kind = haul: fault[0].kind",
        ),
        (
            {"client": [{"measure": "echo", "host": "mars"}]},
            "client[0].host: 'mars' is none of client, alpha",
        ),
        ({"sweep": {"client.o.size": [1]}}, "no such key"),
        ({"figure": [{"kind": "parameter", "value": "gap"}], "sweep": {"seconds": [1]}}, "'gap' is none of"),
        ({"client": [{"measure": "down"}], "figure": [{"kind": "waits"}]}, "counts answers"),
        ({"client": [{"command": "true"}], "figure": [{"kind": "timeline"}]}, "with `measure`"),
        ({"fault": [{"kind": "crash-host", "at_s": 1, "when": "synced"}]}, "either `at_s` or `when`"),
        ({"fault": [{"kind": "crash-host", "when": "noon"}]}, "'noon': wanted is"),
        ({"fault": [{"kind": "crash-host", "when": "received 40 %"}]}, "no `bytes`"),
        ({"sweep": {"client.siez": [1]}}, "no such key"),
        ({"sweep": {"client.7.size": [1]}}, "the experiment has 1 [[client]]; add that one"),
        ({"sweep": {"client.size": []}}, "no values"),
        ({"sweep": {"client.size": [1, "x"]}}, "with client.size = x: client[0].size: Expected `int`"),
        ({"figure": [{"kind": "sequence"}]}, "needs capture"),
        ({"figure": [{"kind": "parameter"}]}, "needs something that is swept"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(more: dict[str, Any], told: str) -> None:
    with pytest.raises(LabError) as error:
        made(**more)
    assert str(error.value).startswith("here: ") and told in str(error.value)


def test_a_sweep_has_all_combinations_in_each_repetition() -> None:
    sweep = {"timing.heartbeat_ms": [5, 20], "client.connections": [1, 10, 100]}
    study = made(repetitions=3, sweep=sweep)
    found = list(runs(study))
    assert [run.number for run in found] == list(range(18))
    for repetition in range(3):
        mine = [tuple(run.parameters.values()) for run in found if run.repetition == repetition]
        assert sorted(mine) == [(a, b) for a in (5, 20) for b in (1, 10, 100)]
    assert len({run.seed for run in found}) == 18
    assert found == list(runs(study)), "the same seed, the same schedule"
    assert [run.seed for run in runs(made(repetitions=3, sweep=sweep, seed=2))] != [run.seed for run in found]


def test_parameters_come_to_their_places() -> None:
    study = made(
        client=[{"measure": "echo"}, {"measure": "up"}],
        fault=[{"kind": "loss", "link": "peer", "percent": 1}],
        sweep={
            "lab.nodes": [3], "seconds": [9], "client.size": [7], "client.1.rate": [8], "fault.percent": [2],
            "renew": ["none"],
        },
    )  # fmt: skip
    (run,) = runs(study)
    there = run.study
    assert (there.lab.nodes, there.seconds, there.lab.set) == (3, 9, {"renew": "none"})
    assert [(client.size, client.rate) for client in there.client] == [(7, 0), (7, 8)]
    assert there.fault[0].arguments() == {"link": "peer", "percent": 2}
    assert study.client[0].size == 64, "the experiment itself stays as it is"


def test_our_client_is_called_as_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.study.program.program", lambda: "/x/fttcp-client")
    study = made(client=[{"measure": "down", "bytes": 10}, {"command": "curl $SERVICE4"}], seed=5)
    (run,) = runs(study)
    called = words(run.study.client[0], run, 0, "10.77.0.100")
    assert called[0] == "/x/fttcp-client" and called[-2:] == ["10.77.0.100", "7300"]
    assert {"--mode=down", "--bytes=10", "--seconds=0", f"--seed={run.seed}"} <= set(called)
    assert words(run.study.client[1], run, 1, "10.77.0.100") == ["sh", "-c", "curl $SERVICE4"]


@pytest.mark.parametrize("name", cli.shipped_names())
def test_those_that_come_with_fttcp_can_be_read(name: str) -> None:
    study = read(cli.find(name))
    assert study.name == name and study.question.endswith("?") and list(runs(study))


def test_a_folder_of_results_hides_no_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loss").mkdir()
    assert read(cli.find("loss")).name == "loss"


def test_the_file_to_start_from_is_one(tmp_path: Path) -> None:
    text = (Path(str(cli.SHIPPED)) / "template.txt").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("NAME", "mine", 1))
    study = read(tmp_path / "mine.toml")
    assert study.name == "mine" and len(list(runs(study))) == 10


def row(number: int, value: int, gap: float, **more: Any) -> dict[str, Any]:
    parameters = {"timing.heartbeat_ms": value}
    return {
        "run": number,
        "repetition": 0,
        "seed": 1,
        "parameters": parameters,
        "ok": True,
        "longest_gap_ms": gap,
    } | more


def filled(path: Path, *rows: dict[str, Any]) -> tuple[Study, Folder]:
    text = (
        'name = "a"\nrepetitions = 2\nquestion = "1 < 2?"\nclient = [{ measure = "echo" }]\n'
        '[sweep]\n"timing.heartbeat_ms" = [20, 5]\n'
    )
    folder = Folder(path)
    folder.begin(text)
    for one in rows:
        folder.add(one)
    return read(path / "study.toml"), folder


def test_results_become_a_table_plots_and_a_page(tmp_path: Path) -> None:
    rows = [row(1, 5, 30.0), row(0, 20, 90.0), row(2, 20, 110.0, ok=False, why="<reset>")]
    study, folder = filled(tmp_path / "a", *rows)
    report = cli.show(study, folder).read_text()
    assert (tmp_path / "a" / "runs.csv").read_text().splitlines()[0] == (
        "run,repetition,seed,ok,longest_gap_ms,timing.heartbeat_ms,why"
    )
    assert "3 of 4 runs, seed 1" in report and "<td>1 of 2</td><td>90</td>" in report
    assert report.count("<svg") == 2 and "1 &lt; 2?" in report and "&lt;reset&gt;" in report
    assert "http" not in report.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", ""), "the page needs nothing from elsewhere"
    combined = page.combined(study, folder.rows())
    assert [(parameters, len(mine)) for parameters, mine in combined] == [
        ({"timing.heartbeat_ms": 20}, 2), ({"timing.heartbeat_ms": 5}, 1),
    ]  # fmt: skip
    assert page.spread(combined[0][1], "longest_gap_ms") == (90.0, 90.0, 90.0)


def test_a_folder_goes_on_with_its_own_experiment_only(tmp_path: Path) -> None:
    _, folder = filled(tmp_path / "a", row(0, 20, 1.0))
    with (tmp_path / "a" / "runs.jsonl").open("a") as file:
        file.write('{"run": 1, "cut sho')
    assert [one["run"] for one in folder.rows()] == [0]
    with pytest.raises(LabError, match=r"another experiment's.*'name = .a.' where now is"):
        folder.begin("name = 'b'")
    text = (folder.path / "study.toml").read_text()
    folder.begin("# --repetitions 30\n" + text)
    assert "30" in (folder.path / "study.toml").read_text(), (
        "it may be repeated more often: runs are the same"
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(LabError, match="not empty"):
        Folder(tmp_path / "full").begin("name = 'b'")


def compared(before: Path, after: Path) -> list[dict[str, Any]]:
    told = CliRunner().invoke(cli.compare, [str(before), str(after), "--json"])
    assert told.exit_code == 0, told.output
    return list(json.loads(told.output)["columns"])


def test_two_results_are_compared(tmp_path: Path) -> None:
    """Two sets of two runs each are apart in one of three cases by chance: that tells nothing."""
    filled(tmp_path / "a", row(0, 20, 100.0), row(1, 20, 120.0), row(2, 5, 30.0))
    filled(tmp_path / "b", row(0, 20, 50.0), row(1, 20, 60.0), row(2, 5, 30.0))
    found = compared(tmp_path / "a", tmp_path / "b")
    assert [(line["ratio"], line["said"]) for line in found] == [
        (0.5, "apart, but too few runs to tell"), (1.0, "the runs overlap"),
    ]  # fmt: skip
    filled(tmp_path / "c", *(row(number, 5, 100.0 + number, lost=0) for number in range(4)))
    filled(tmp_path / "d", *(row(number, 5, 50.0 + number, lost=number % 2) for number in range(4)))
    gap, lost = compared(tmp_path / "c", tmp_path / "d")
    assert gap["said"] == "apart"
    assert (lost["column"], lost["before"], lost["after"], lost["ratio"]) == ("lost", 0, 2, None)


def test_what_a_kill_has_cut_short_costs_no_other_run(tmp_path: Path) -> None:
    """And one that was done again counts once."""
    _, folder = filled(tmp_path / "a", row(0, 20, 1.0))
    with (tmp_path / "a" / "runs.jsonl").open("a") as file:
        file.write('{"run": 1, "cut sho')
    folder.add(row(1, 20, 0.0, error="no lab"))
    folder.add(row(2, 5, 3.0))
    folder.add(row(1, 20, 2.0))
    assert [(one["run"], one["longest_gap_ms"]) for one in folder.rows()] == [(0, 1.0), (1, 2.0), (2, 3.0)]


def drawn(axes: Any) -> list[list[float]]:
    return [list(line.get_ydata()) for line in axes.lines]


def test_plots_show_medians_and_single_runs(tmp_path: Path) -> None:
    from matplotlib import pyplot

    study, folder = filled(tmp_path / "a", row(0, 20, 90.0), row(1, 20, 110.0), row(2, 5, 30.0))
    canvas, axes = pyplot.subplots()
    figures._parameter(axes, Figure("parameter"), study, folder, folder.rows())
    medians, single = axes.lines
    assert list(medians.get_xdata()) == [5, 20] and drawn(axes)[0] == [30.0, 100.0], "numbers are to scale"
    assert list(single.get_xdata()) == [5, 20, 20] and drawn(axes)[1] == [30.0, 90.0, 110.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "20"]
    assert axes.get_xlabel() == "timing.heartbeat_ms"
    pyplot.close(canvas)
    canvas, axes = pyplot.subplots()
    figures._gaps(axes, Figure("gaps"), study, folder, folder.rows())
    assert drawn(axes)[0] == [0, 0.5, 1.0] and drawn(axes)[2] == [0, 1.0], "one run is a step, too"
    pyplot.close(canvas)


def swept(path: Path, sweep: str, *rows: dict[str, Any]) -> tuple[Study, Folder]:
    """A folder with what runs say, each with its parameters."""
    folder = Folder(path)
    folder.begin(
        f"name = 'a'\nfault = [{{ kind = 'heal' }}]\nclient = [{{ measure = 'down' }}]\n[sweep]\n{sweep}"
    )
    for one in rows:
        folder.add(one)
    return read(path / "study.toml"), folder


def test_what_is_swept_beside_numbers_makes_lines_over_them(tmp_path: Path) -> None:
    from matplotlib import pyplot

    kinds, delays = ("heal", "crash-host"), (0, 10, 40)
    rows = [
        row(3 * i + k, 5, 100.0 * i + delay) | {"parameters": {"client.rate": delay, "fault.0.kind": kind}}
        for i, kind in enumerate(kinds)
        for k, delay in enumerate(delays)
    ]
    study, folder = swept(
        tmp_path / "a", '"client.rate" = [0, 10, 40]\n"fault.0.kind" = ["heal", "crash-host"]', *rows
    )
    canvas, axes = pyplot.subplots()
    figures._parameter(axes, Figure("parameter"), study, folder, folder.rows())
    assert axes.get_xlabel() == "client.rate, bytes per second"
    assert figures._legend(Figure("parameter"), study) == "fault.0.kind"
    assert dict(zip(("heal", "crash-host"), drawn(axes)[::2], strict=True)) == {
        "heal": [0, 10, 40], "crash-host": [100, 110, 140],
    }  # fmt: skip
    assert axes.get_legend_handles_labels()[1] == ["heal", "crash-host"]
    pyplot.close(canvas)


def test_what_is_no_number_has_places_side_by_side(tmp_path: Path) -> None:
    from matplotlib import pyplot

    rows = [row(i, 5, gap) | {"parameters": {"fault.0.kind": "heal"}} for i, gap in enumerate((1.0, 3.0))]
    study, folder = swept(tmp_path / "a", '"fault.0.kind" = ["heal", "crash-host"]', *rows)
    canvas, axes = pyplot.subplots()
    figures._parameter(axes, Figure("parameter"), study, folder, folder.rows())
    assert drawn(axes)[-1] == [2.0] and figures._legend(Figure("parameter"), study) is None
    assert [label.get_text() for label in axes.get_xticklabels()] == ["heal"]
    pyplot.close(canvas)


def test_a_folder_without_results_is_no_report(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli.run_command, ["loss", "--report-only", "--out", str(tmp_path / "x")])
    assert told.exit_code == 1 and "there are no results; --out names" in told.output
    assert not (tmp_path / "x").exists()


def test_a_report_may_have_other_figures_but_no_other_sweep(tmp_path: Path) -> None:
    _, folder = filled(tmp_path / "a", row(0, 20, 90.0))
    file = tmp_path / "a.toml"
    text = (folder.path / "study.toml").read_text()
    again = ["--report-only", "--out", str(folder.path)]
    file.write_text(text + '[[figure]]\nkind = "gaps"\n')
    told = CliRunner().invoke(cli.run_command, [str(file), *again])
    assert told.exit_code == 0 and [one.name for one in folder.path.glob("*.svg")] == ["1-gaps.svg"], (
        told.output
    )
    file.write_text(text.replace("[20, 5]", "[5]"))
    told = CliRunner().invoke(cli.run_command, [str(file), *again])
    assert told.exit_code == 1 and "swept something else" in told.output


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--seconds", "-1"], "seconds"), (["--repetitions", "20000"], "repetitions")],
)
def test_options_are_checked_as_the_file_is(words: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.run_command, ["loss", "--out", str(tmp_path / "x"), *words])
    assert done.exit_code != 0 and told in done.output


def test_settings_are_checked_before_the_first_run() -> None:
    rehearse_all(
        made(sweep={"timing.heartbeat_ms": [5, 20], "lab.arbiter": ["none", "witness", "etcd"]}), "here"
    )
    with pytest.raises(LabError) as error:
        rehearse_all(made(sweep={"timing.heartbeat_ms": [5], "timing.hartbeat_ms": [5]}), "here")
    assert str(error.value).startswith("here: [lab] with timing.heartbeat_ms = 5, timing.hartbeat_ms = 5: ")
    assert "hartbeat_ms" in str(error.value).partition(" does not fit: ")[2]
    with pytest.raises(LabError, match="there is no /no/server: install it, or correct the path"):
        rehearse_all(made(lab={"serve": ["80/tcp=/no/server -x"]}), "here")


@pytest.mark.parametrize(("name", "becomes"), [("My Plot-2.toml", "my-plot-2"), ("2.toml", "mine")])
def test_a_new_experiment_has_a_name_that_can_be_one(name: str, becomes: str, tmp_path: Path) -> None:
    assert CliRunner().invoke(cli.new, [str(tmp_path / name)]).exit_code == 0
    assert read(tmp_path / name).name == becomes


def test_what_is_no_text_is_no_experiment(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="no text in UTF-8"):
        read(tmp_path / "x.toml")


def frame(source: str, sequence: int, acknowledgement: int, flags: int, length: int) -> bytes:
    ports = (7300, 5000) if source == "service" else (5000, 7300)
    ends = [bytes([10, 77, 0, 100]), bytes([10, 77, 0, 10])]
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledgement, 5 << 4, flags, 0, 0, 0)
    ip = struct.pack("!BBHIBBH", 0x45, 0, 40 + length, 0, 64, 6, 0) + b"".join(
        ends if source == "service" else ends[::-1]
    )
    return bytes(12) + b"\x08\x00" + ip + tcp


def test_sequence_numbers_are_those_of_the_stream(tmp_path: Path) -> None:
    """Across 2^32; what is sent again is told apart."""
    isn = 2**32 - 1000
    seen = [
        frame("service", isn, 1, 0x12, 0), frame("service", isn + 1, 1, 0x10, 800),
        frame("client", 1, (isn + 801) % 2**32, 0x10, 0), frame("service", (isn + 801) % 2**32, 1, 0x10, 800),
        frame("service", (isn + 801) % 2**32, 1, 0x10, 800),
        frame("client", 1, (isn + 1601) % 2**32, 0x10, 0),
    ]  # fmt: skip
    files = {"peer": tmp_path / "peer.pcap", "client": tmp_path / "client.pcap"}
    head = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for file in files.values():
        file.write_bytes(
            head + b"".join(struct.pack("<IIII", 1, i, len(one), 1000) + one for i, one in enumerate(seen))
        )
    join(files, tmp_path / PACKETS)
    assert not any(file.exists() for file in files.values())
    joined = list(records(tmp_path / PACKETS))
    assert [one.data for one in joined if one.interface == "peer"] == seen
    assert {one.length for one in joined} == {1000} and joined == sorted(joined, key=lambda one: one.time_ns)
    found = points(tmp_path / PACKETS)
    assert [point.number for point in found.data] == [800, 1600]
    assert [point.number for point in found.repeated] == [1600]
    assert [point.number for point in found.acknowledged] == [800, 1600]
    assert points(tmp_path / "none.pcapng").data == []
    assert lines(tmp_path / "none.jsonl") == []


def test_a_client_may_be_at_a_segment_that_is_swept() -> None:
    study = made(
        client=[{"measure": "echo", "host": "far"}],
        segment=[{"name": "wan", "by": "router", "hosts": ["far"], "delay_ms": 5}],
        sweep={"segment.delay_ms": [10, 20]},
    )
    delays = {run.study.segment[0].of_lab().terms.delay_ms for run in runs(study)}
    assert delays == {10, 20}
