"""The figures of the bench: pairs, percentiles, silences, and the tables in a document."""

import pytest

from lab.bench.measure import silences_ms
from lab.bench.report import (
    BEGIN,
    END,
    NATIVE,
    PROTECTED,
    Key,
    MarkerError,
    Samples,
    markdown,
    pairwise_ratios,
    percentile,
    replace_tables,
    show,
)

SPEED = Key("Throughput", "download", PROTECTED, "Mbit/s")
SPEED_NATIVE = Key("Throughput", "download", NATIVE, "Mbit/s")
GAP = Key("Gap", "crash-host", PROTECTED, "ms")


def measured() -> Samples:
    samples = Samples()
    for number, (native, protected) in enumerate([(100.0, 90.0), (200.0, 100.0), (100.0, 80.0)]):
        samples.add(SPEED_NATIVE, number, native)
        samples.add(SPEED, number, protected)
    samples.add(GAP, 0, 51.25)
    return samples


def test_ratios_are_those_of_pairs_not_of_medians() -> None:
    native, protected, gap = measured().figures()
    assert (native.median, native.min, native.max, native.n) == (100.0, 100.0, 200.0, 3)
    assert native.ratio is None and gap.ratio is None
    assert (protected.ratio, protected.ratio_min, protected.ratio_max) == (0.8, 0.5, 0.9)


def test_a_pass_that_lacks_its_other_half_has_no_ratio() -> None:
    assert pairwise_ratios({0: 1.0, 1: 4.0}, {1: 2.0, 2: 3.0}) == [2.0]


def test_figures_keep_measures_together_and_lost_passes_are_told() -> None:
    samples = measured()
    other = Key("Throughput", "upload", PROTECTED, "Mbit/s")
    samples.note(other, "lost: reset")
    samples.note(other, "lost: reset")
    figures = samples.figures()
    assert [figure.measure for figure in figures] == ["Throughput"] * 3 + ["Gap"]
    assert (figures[2].n, figures[2].median, figures[2].notes) == (0, None, ["lost: reset (2x)"])


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


def test_tables_have_ratios_only_where_something_is_compared() -> None:
    text = markdown({"cores": 2}, {"passes": 3}, measured().figures())
    assert "Machine: cores 2.\n\nSettings: passes 3." in text
    assert "| download | protected | 90.0 Mbit/s | 80.0 | 100 | 3 | 0.800 (0.500 to 0.900) |" in text
    assert "| crash-host | protected | 51.2 ms | 51.2 | 51.2 | 1 |" in text.splitlines()


def test_notes_follow_their_table() -> None:
    samples = measured()
    samples.note(GAP, "lost: reset")
    assert markdown({}, {}, samples.figures()).endswith("\n\n- crash-host, protected: lost: reset (1x)")


def test_tables_replace_what_is_between_the_markers() -> None:
    text = replace_tables(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new")
    assert text == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replace_tables(text, "new") == text


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    with pytest.raises(MarkerError, match="add them"):
        replace_tables(text, "new")
