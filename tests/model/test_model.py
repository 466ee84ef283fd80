"""The quick part of `make model`: the small model holds, and breaks without any of its rules."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECK = Path(__file__).parents[2] / "model" / "check.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_check", CHECK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check = load()
RUNS = [run for run in (*check.HOLDS, *check.BREAKS) if run.quick]


@pytest.mark.skipif(shutil.which("spin") is None, reason="spin is not installed (make packages)")
@pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])
def test_result_is_the_expected_one(run: "check.Run", tmp_path: Path) -> None:
    result = check.verify(run, tmp_path / run.name)
    wrong = check.judge(run, result)
    assert not wrong, f"{wrong}\n{check.explain(run, tmp_path / run.name) if result.broken else ''}"
    if not run.breaks:
        assert result.states > 100_000, "the search ended too soon"
    else:
        assert check.explain(run, tmp_path / run.name), "the run that breaks the property cannot be told"


def test_the_quick_part_has_every_mutation_and_one_proof() -> None:
    assert all(run in RUNS for run in check.BREAKS)
    assert any(not run.breaks for run in RUNS)
    names = [run.name for run in (*check.HOLDS, *check.BREAKS)]
    assert len(set(names)) == len(names)


def test_every_mutation_is_a_word_of_the_model() -> None:
    words = {
        word for part in check.MODELS.glob("*.pml") for word in check.re.findall(r"\w+", part.read_text())
    }
    for run in check.BREAKS:
        assert {word.partition("=")[0] for word in run.defines} <= words, run.name


def test_a_mutation_that_is_not_caught_is_an_error() -> None:
    mutant = next(run for run in check.BREAKS if not run.live)
    proof = next(run for run in check.HOLDS if not run.live)
    seen = check.Result("", 1, 1, 1.0, 1.0)
    broken = check.Result("safety", 1, 1, 1.0, 1.0)
    assert check.judge(mutant, seen) and not check.judge(mutant, broken)
    assert check.judge(proof, broken) and not check.judge(proof, seen)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(check.CheckError, match="no such run: nothing"):
        check.chosen(["nothing"], quick=False)
