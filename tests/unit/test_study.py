"""Experiments as files: what is read, which runs follow, and what is made of their results."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.study import cli, page
from lab.study.folder import Folder, lines
from lab.study.plan import Study, read, runs, understand
from lab.study.program import words
from lab.study.sequence import points

FIRST: dict[str, Any] = {"name": "a", "client": [{"measure": "echo"}]}


def made(**more: Any) -> Study:
    return understand(FIRST | more, "here")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"client": []}, "client"),
        ({"client": [{"measure": "ping"}]}, "measure"),
        ({"client": [{}]}, "either `measure` or `command`"),
        ({"client": [{"measure": "echo", "command": "true"}]}, "either `measure` or `command`"),
        ({"client": [{"measure": "echo", "size": 0}]}, "size"),
        ({"repetition": 3}, "repetition"),
        ({"name": "../x"}, "name"),
        ({"link": [{"link": "arbiter"}]}, "link"),
        ({"link": [{"link": "client", "delay_ms": -1}]}, "delay_ms -1: allowed are 0 to 60000"),
        ({"link": [{"link": "client", "delay_ms": 1, "jitter_ms": 2}]}, "allowed are 0 to the delay, 1"),
        ({"link": [{"link": "client", "loss_percent": 101}]}, "loss_percent 101: allowed are 0 to 100"),
        ({"link": [{"link": "client", "reorder_percent": 1}]}, "it needs delay_ms"),
        ({"link": [{"link": "peer", "rate_mbit": 0.01}]}, "rate_mbit 0.01: allowed are 0.1 to 10000"),
        ({"link": [{"link": "peer", "from": "client"}]}, "link[0].from: 'client' is none of alpha, beta"),
        ({"link": [{"link": "peer"}], "sweep": {"link.jitter_ms": [0, 3]}}, "allowed are 0 to the delay, 0"),
        ({"fault": [{"kind": "earthquake"}]}, "'earthquake' is none of crash-host"),
        ({"fault": [{"kind": "crash-host", "at_s": 1, "when": "synced"}]}, "either `at_s` or `when`"),
        ({"fault": [{"kind": "crash-host", "when": "noon"}]}, "'noon': wanted is"),
        ({"fault": [{"kind": "crash-host", "when": "received 40 %"}]}, "no `bytes`"),
        ({"sweep": {"client.siez": [1]}}, "no such key"),
        ({"sweep": {"client.7.size": [1]}}, "no such key"),
        ({"sweep": {"client.size": []}}, "no values"),
        ({"sweep": {"client.size": [1, "x"]}}, "sweep"),
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
        'name = "a"\nquestion = "1 < 2?"\nclient = [{ measure = "echo" }]\n'
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
    assert report.count("<svg") == 2 and "1 &lt; 2?" in report and "&lt;reset&gt;" in report
    assert "http" not in report.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", ""), "the page needs nothing from elsewhere"
    combined = page.combined(study, folder.rows())
    assert [(parameters, len(mine)) for parameters, mine in combined] == [
        ({"timing.heartbeat_ms": 20}, 2), ({"timing.heartbeat_ms": 5}, 1),
    ]  # fmt: skip
    assert page.spread(combined[0][1], "longest_gap_ms") == (90.0, 100.0, 110.0)


def test_a_folder_goes_on_with_its_own_experiment_only(tmp_path: Path) -> None:
    _, folder = filled(tmp_path / "a", row(0, 20, 1.0))
    with (tmp_path / "a" / "runs.jsonl").open("a") as file:
        file.write('{"run": 1, "cut sho')
    assert [one["run"] for one in folder.rows()] == [0]
    with pytest.raises(LabError, match="another experiment's"):
        folder.begin("name = 'b'")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(LabError, match="not empty"):
        Folder(tmp_path / "full").begin("name = 'b'")


def test_two_results_are_compared(tmp_path: Path) -> None:
    from click.testing import CliRunner

    filled(tmp_path / "a", row(0, 20, 100.0), row(1, 20, 120.0), row(2, 5, 30.0))
    filled(tmp_path / "b", row(0, 20, 50.0), row(1, 20, 60.0), row(2, 5, 30.0))
    told = CliRunner().invoke(cli.compare, [str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    found = json.loads(told.output)
    assert [(line["ratio"], line["said"]) for line in found] == [(0.5, "apart"), (1.0, "the runs overlap")]


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
    file = tmp_path / "client.pcap"
    head = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    file.write_bytes(
        head + b"".join(struct.pack("<IIII", 1, i, len(one), len(one)) + one for i, one in enumerate(seen))
    )
    found = points(file)
    assert [point.number for point in found.data] == [800, 1600]
    assert [point.number for point in found.repeated] == [1600]
    assert [point.number for point in found.acknowledged] == [800, 1600]
    assert points(tmp_path / "none.pcap").data == []
    assert lines(tmp_path / "none.jsonl") == []
