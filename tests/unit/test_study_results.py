"""What is said of an experiment's runs: which of them count, and how two sets of them differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from matplotlib import pyplot

from lab.errors import LabError
from lab.study import cli, figures, page
from lab.study.folder import Folder
from lab.study.plan import read, understand
from lab.study.run import too_late
from lab.study.schema import Figure, Study

FILE = 'name = "a"\nrepetitions = 5\nclient = [{ measure = "down" }]\nfault = [{ kind = "crash-host" }]\n'


def row(number: int, gap: float = 10.0, **more: Any) -> dict[str, Any]:
    return {"run": number, "parameters": {}, "ok": True, "longest_gap_ms": gap, "lost": 0, **more}


def lost(number: int, gap: float, **more: Any) -> dict[str, Any]:
    return row(number, gap, **{"ok": False, "why": "reset", "lost": 1, **more})


def filled(path: Path, *rows: dict[str, Any], text: str = FILE) -> tuple[Study, Folder]:
    folder = Folder(path)
    folder.begin(text)
    for one in rows:
        folder.add(one)
    return read(path / "study.toml", done=True), folder


def again(folder: Folder) -> tuple[int, str]:
    """Write its report anew; return the exit status, and what is said of the runs."""
    words = [str(folder.path / "study.toml"), "--report-only", "--out", str(folder.path)]
    told = CliRunner().invoke(cli.run_command, words)
    return told.exit_code, told.output.strip().partition("report.html: ")[2]


def test_a_fault_that_comes_after_the_clients_tests_nothing() -> None:
    crash = {"event": "fault", "fault": "crash-host", "time_us": 5_024_000}
    assert too_late([crash], 5_000_000) == {"late_ms": 24.0}
    assert too_late([crash], 5_024_001) == {}
    assert too_late([crash, {**crash, "fault": "restart-host", "time_us": 9_000_000}], 6_000_000) == {}
    assert too_late([crash, {**crash, "time_us": 9_000_000}], 6_000_000) == {"late_ms": 3000.0}
    assert too_late([{"event": "role", "time_us": 9_000_000}], 6_000_000) == {}


def test_medians_are_of_runs_that_went_well(tmp_path: Path) -> None:
    """Of a lost connection the silence is short; a fault that came late was waited for by nobody."""
    late = row(4, 0.2, ok=False, why="the fault came 24 ms after the client had ended", late_ms=24.0)
    rows = [row(0, 100.0), lost(1, 1.0), lost(2, 2.0), row(3, 120.0), late, row(5, ok=False, error="no lab")]
    study, folder = filled(tmp_path / "a", *rows)
    assert page.spread(folder.rows(), "longest_gap_ms") == (100.0, 110.0, 120.0)
    report = cli.show(study, folder).read_text()
    assert "<td>2 of 6</td>" in report and "<td>2 in 5 runs</td>" in report
    assert "every byte was right" not in report
    assert again(folder) == (
        1, "6 runs, 2 with lost connections, 1 without a test: the fault came after the clients, 1 not done"
    )  # fmt: skip
    _, folder = filled(tmp_path / "b", row(0))
    assert again(folder) == (0, "1 run, all went well")


def test_lost_runs_are_crosses(tmp_path: Path) -> None:
    sweep = FILE + '[sweep]\n"timing.heartbeat_ms" = [5, 20]\n'
    rows = [
        one | {"parameters": {"timing.heartbeat_ms": 5}}
        for one in (row(0, 100.0), lost(1, 1.0), lost(2, 2.0), row(3, 120.0), lost(4, 3.0))
    ]
    study, folder = filled(tmp_path / "a", *rows, text=sweep)
    for draw, swept in ((figures._over_numbers, ["timing.heartbeat_ms"]), (figures._side_by_side, [])):
        canvas, axes = pyplot.subplots()
        draw(axes, Figure("parameter"), study, folder.rows(), *swept)
        lines: dict[str, Any] = {
            label: line for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        assert list(lines["median"].get_ydata()) == [110.0]
        crosses = lines["lost: 3 of 5 runs"]
        assert list(crosses.get_ydata()) == [1.0, 2.0, 3.0] and crosses.get_marker() == "x"
        pyplot.close(canvas)
    canvas, axes = pyplot.subplots()
    figures._gaps(axes, Figure("gaps"), study, folder, folder.rows())
    assert axes.get_legend_handles_labels()[1] == ["5: lost: 3 of 5 runs"]
    step: Any = axes.lines[0]
    assert list(step.get_ydata()) == [0, 0.2, 0.4], "of the others no silence had an end"
    pyplot.close(canvas)


OWN = """
name = "a"
client = [{ measure = "recipe", bytes = 4 }]
lab = { recipe = "mine" }
server = [{ name = "mine", ports = "80/tcp", command = "x", files = "site", stream = "cat", expect = "long" }]
"""


def test_results_need_no_files_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "long").write_text("1234")
    file = tmp_path / "a.toml"
    file.write_text(OWN)
    read(file)
    for name in ("before", "after"):
        filled(tmp_path / name, row(0), text=OWN)
    again = [str(file), "--report-only", "--out", str(tmp_path / "before")]
    told = CliRunner().invoke(cli.run_command, again)
    assert told.exit_code == 0, told.output
    told = CliRunner().invoke(cli.compare, [str(tmp_path / "before"), str(tmp_path / "after")])
    assert told.exit_code == 0, told.output


def test_a_download_has_the_rate_and_the_length_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("1234")
    server = {"name": "own", "ports": "80/tcp", "command": "x", "files": str(tmp_path), "expect": "long"}

    def made(stream: str, **client: Any) -> Study:
        more = {"client": [{"measure": "recipe", **client}], "server": [{**server, "stream": stream}]}
        return understand({"name": "a", "lab": {"recipe": "own"}, **more}, "here")

    with pytest.raises(
        LabError, match=r"client\[0\].rate: .*'own' has no \$RATE.*rate_mbit of a \[\[link\]\]"
    ):
        made("curl $RATES", rate=5)
    with pytest.raises(LabError, match=r"client\[0\].bytes: 5: 'long' of 'own' has 4"):
        made("curl", bytes=5)
    assert made("curl --limit-rate ${RATE}", rate=5, bytes=4).client[0].rate == 5


def test_a_report_with_other_figures_leaves_no_old_plots(tmp_path: Path) -> None:
    _, folder = filled(tmp_path / "a", row(0))
    for name in ("2-timeline.svg", "11-lag.svg", "mine.svg", "3-mine.svg"):
        (folder.path / name).touch()
    figures.draw(understand({"name": "a", "client": [{"measure": "down"}], "figure": [{"kind": "gaps"}]}, ""),
                 folder)  # fmt: skip
    assert {file.name for file in folder.path.glob("*.svg")} == {"1-gaps.svg", "mine.svg", "3-mine.svg"}


def compared(*words: str) -> str:
    told = CliRunner().invoke(cli.compare, words)
    assert told.exit_code == 0, told.output
    return told.output


def test_a_comparison_tells_how_many_runs_and_what_differs(tmp_path: Path) -> None:
    other = FILE.replace("repetitions = 5", "repetitions = 9").replace('"down"', '"down", rate = 7')
    other += "[lab.set]\n'timing.heartbeat_ms' = 20\n"
    filled(tmp_path / "a", *(row(number, 100.0 + number) for number in range(3)), lost(3, 1.0))
    filled(tmp_path / "b", *(row(number, 50.0 + number) for number in range(3)), text=other)
    folders = [str(tmp_path / name) for name in ("a", "b")]
    told = compared(*folders).splitlines()
    assert told == [
        "differs: lab.set.timing.heartbeat_ms: not set -> 20",
        "differs: client.0.rate: 0 -> 7",
        "all runs: longest_gap_ms 101 -> 51  (0.505; 3 and 3 runs; apart, but too few runs to tell)",
        "all runs: lost 1 -> 0  (4 and 3 runs; the runs overlap)",
        "too few runs to tell them apart: run both experiments with --repetitions 4, or more",
    ]
    said = json.loads(compared(*folders, "--json"))
    assert said["settings"] == {"lab.set.timing.heartbeat_ms": [None, 20], "client.0.rate": [0, 7]}
    assert [line["runs"] for line in said["columns"]] == [[3, 3], [4, 3]]
    filled(tmp_path / "b", row(3, 53.0), row(4, 54.0), text=other)
    filled(tmp_path / "a", row(3, 103.0))
    assert "too few" not in compared(*folders)
    filled(tmp_path / "c", lost(0, 1.0, lost=0))
    assert compared(folders[0], str(tmp_path / "c")).startswith("nothing to compare: ")
