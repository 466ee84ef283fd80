"""What comes of a bench, without a lab: statistics, tables, plots, and results that are kept."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.bench import cli, plot, tables
from lab.bench.rows import FTTCP, NATIVE, Key, Row, Samples, pairwise_ratios, percentile, show, silences_ms
from lab.bench.scenario import Record
from lab.bench.scenarios.gaps import served_to_the_end
from lab.bench.systems import HAPROXY

SPEED = Key("throughput.download", FTTCP, "Mbit/s")
SPEED_NATIVE = Key("throughput.download", NATIVE, "Mbit/s")
GAP = Key("gap.crash-host", FTTCP, "ms")
FACTS = {"machine": {"cores": 2}, "settings": {"passes": 3}, "versions": {"wrk": "4.1.0"}}


def measured() -> Samples:
    samples = Samples()
    samples.add(GAP, 0, 51.25)
    for number, (native, protected) in enumerate([(100.0, 90.0), (200.0, 100.0), (100.0, 80.0)]):
        samples.add(SPEED_NATIVE, number, native)
        samples.add(SPEED, number, protected)
    return samples


# ---- statistics


def test_a_row_has_spread_and_the_ratio_of_pairs_not_of_medians() -> None:
    gap, native, protected = measured().rows()
    assert (native.median, native.min, native.max, native.p99, native.n) == (100.0, 100.0, 200.0, 200.0, 3)
    assert native.ratio_to_native is None and gap.ratio_to_native is None
    assert protected.ratio_to_native == 0.8


def test_a_pass_that_lacks_its_other_half_has_no_ratio() -> None:
    assert pairwise_ratios({0: 1.0, 1: 4.0}, {1: 2.0, 2: 3.0}) == [2.0]


def test_samples_that_come_together_in_another_table_are_half_of_no_pair() -> None:
    samples = Samples()
    for number in range(2):
        for name in (NATIVE, FTTCP):
            record = Record(samples, "gap.a", name, number, [])
            record.add("ms", 1.0)
            record.pool("quiet.a", "ms", 2.0)
            record.pool("quiet.a", "ms", 4.0)
    assert [(row.scenario, row.n, row.median, row.ratio_to_native) for row in samples.rows()] == [
        ("gap.a", 2, 1.0, None),
        ("gap.a", 2, 1.0, 1.0),
        ("quiet.a", 4, 3.0, None),
        ("quiet.a", 4, 3.0, None),
    ]


def test_samples_of_a_pass() -> None:
    samples = Samples()
    samples.add(GAP, 0, 1.0)
    samples.add(GAP, 1, 2.0)
    samples.add(SPEED, 0, 3.0)
    samples.append(SPEED, 4.0)
    assert samples.of_pass(0) == {GAP: 1.0, SPEED: 3.0} and samples.of_pass(1) == {GAP: 2.0}


def test_rows_of_a_scenario_stand_together_and_lost_passes_are_told() -> None:
    samples = measured()
    samples.note(replace(GAP, system=HAPROXY), "lost: reset")
    samples.note(replace(GAP, system=HAPROXY), "lost: reset")
    rows = samples.rows()
    assert [row.system for row in rows] == [FTTCP, HAPROXY, NATIVE, FTTCP]
    assert (rows[1].n, rows[1].median, rows[1].p99, rows[1].notes) == (0, None, None, ["lost: reset (2x)"])


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 2.0), (75, 3.0), (76, 4.0), (99, 4.0)])
def test_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == value


def test_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_silences_belong_to_the_side_on_which_they_end() -> None:
    before, after = silences_ms([0.0, 0.004, 0.005, 0.055, 0.056], at_s=0.01)
    assert (before, after) == (pytest.approx(4), pytest.approx(50))
    assert silences_ms([0.0, 0.5], at_s=1.0) == (500.0, None)
    assert silences_ms([], at_s=1.0) == (None, None)


def test_a_client_that_hears_nothing_at_the_end_was_not_served_to_the_end() -> None:
    assert served_to_the_end([1.0, 2.9], end_s=3.0)
    assert not served_to_the_end([1.0, 2.4], end_s=3.0)
    assert not served_to_the_end([], end_s=3.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (18285.4, "18,285"),
        (65.55, "65.5"),
        (3.1416, "3.14"),
        (0.2129, "0.213"),
        (-71.2, "-71.2"),
    ],
)
def test_numbers_have_about_three_digits(value: float | None, text: str) -> None:
    assert show(value) == text


# ---- what comes out


def test_tables_show_each_row_and_its_notes() -> None:
    samples = measured()
    samples.note(GAP, "lost: reset")
    text = tables.markdown(FACTS, {"gap": "The gap"}, samples.rows(), {"gap": "plots/gap.svg"})
    assert text.startswith("Machine: cores 2.\n\nSettings: passes 3.\n\nVersions: wrk 4.1.0.\n\n### The gap")
    assert "![gap](plots/gap.svg)" in text.splitlines()
    assert "| download | fttcp | Mbit/s | 90.0 | 80.0 | 100 | 100 | 0.800 | 3 |" in text.splitlines()
    assert "| crash-host | fttcp | ms | 51.2 | 51.2 | 51.2 | 51.2 |  | 1 |" in text.splitlines()
    assert "- gap.crash-host, fttcp: lost: reset (1x)" in text.splitlines()


def test_a_pair_with_a_setting_changed_has_its_ratio_to_the_one_without() -> None:
    samples = measured()
    for number, value in enumerate((45.0, 60.0, 20.0)):
        samples.add(replace(SPEED, system=f"{FTTCP} compare=false"), number, value)
        samples.add(replace(SPEED, system=HAPROXY), number, value)
    assert [row.ratio_to_fttcp for row in samples.rows()] == [None, None, None, 0.5, None]
    assert all(row.ratio_to_fttcp is None for row in measured().rows())
    shown = tables.markdown({}, {}, samples.rows(), {}).splitlines()
    assert "|  | system | unit | median | min | max | p99 | to native | n | to fttcp |" in shown
    assert (
        f"| download | {FTTCP} compare=false | Mbit/s | 45.0 | 20.0 | 60.0 | 60.0 | 0.300 | 3 | 0.500 |"
        in shown
    )
    assert f"| download | {HAPROXY} | Mbit/s | 45.0 | 20.0 | 60.0 | 60.0 | 0.300 | 3 |  |" in shown
    assert "to fttcp" not in tables.markdown({}, {}, measured().rows(), {})


def test_tables_replace_what_is_between_the_markers() -> None:
    text = tables.replace_tables(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n", "new")
    assert text == f"before\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"
    assert tables.replace_tables(text, "new") == text


@pytest.mark.parametrize("text", ["", tables.BEGIN, tables.END, f"{tables.END}\n{tables.BEGIN}"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    with pytest.raises(tables.MarkerError, match="add them"):
        tables.replace_tables(text, "new")


def test_plots_have_one_file_for_each_table(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = plot.plot(measured().rows(), {}, tmp_path / "plots")
    assert sorted(files) == ["gap", "throughput"]
    for name, file in plot.plot(measured().rows(), {}, tmp_path / "again").items():
        assert file.read_text().rstrip().endswith("</svg>")
        assert file.read_bytes() == files[name].read_bytes()


def test_results_that_were_kept_give_tables_and_plots_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    kept, document = tmp_path / "kept.json", tmp_path / "doc.md"
    cli.Output(FACTS, kept, None, None).save(measured().rows(), complete=True)
    content = json.loads(kept.read_text())
    assert set(content) == {"machine", "settings", "versions", "complete", "errors", "rows"}
    assert [Row(**row) for row in content["rows"]] == measured().rows()
    fields = {"scenario", "system", "unit", "median", "min", "max", "p99", "ratio_to_native", "n", "notes"}
    assert set(asdict(measured().rows()[0])) == fields | {"ratio_to_fttcp"}
    document.write_text(f"{tables.BEGIN}\n{tables.END}\n")
    options = ["--from", str(kept), "--markdown", str(document), "--plot", str(tmp_path / "plots")]
    done = CliRunner().invoke(cli.bench, options)
    assert done.exit_code == 0, done.output
    assert "![gap](plots/gap.svg)" in document.read_text()


def test_the_tables_of_the_docs_are_those_of_their_data(tmp_path: Path) -> None:
    bench = Path(__file__).parents[2] / "docs" / "bench"
    before = (bench / "figures.md").read_text()
    again = tmp_path / "figures.md"
    again.write_text(before)
    done = CliRunner().invoke(cli.bench, ["--from", str(bench / "figures.json"), "--markdown", str(again)])
    assert done.exit_code == 0, done.output
    assert again.read_text() == before


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("{}")
    done = CliRunner().invoke(cli.bench, ["--from", str(file)])
    assert done.exit_code == 1 and "not written by fttcp bench" in done.output
