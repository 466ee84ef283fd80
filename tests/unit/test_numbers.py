"""Numbers that C and Python share: those of Python are those of the C headers, read from the compiled core.

The pure core imports nothing, so it writes its enums itself. They, and those of the engines, must be what
`abi.h` and `core_api.h` say. A Python enum whose docstring begins with "Values of enum NAME" is compared with
that one, a constant whose docstring begins with "FTT_NAME:" with the constant.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fttcp._native import ffi, lib

ROOT = Path(__file__).parents[2]


def assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr, str]]:
    """Names, their values, and the docstrings behind them."""
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            told = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
            yield statement.targets[0].id, statement.value, told


def trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for top in ("fttcp", "lab") for path in (ROOT / top).rglob("*.py")]


def enums() -> dict[str, dict[str, int]]:
    """The name of the C enum -> the names and numbers in Python."""
    found = {}
    for node in (node for tree in trees() for node in tree.body if isinstance(node, ast.ClassDef)):
        match = re.match(r"Values of enum (\w+)", ast.get_docstring(node) or "")
        if match:
            assert match[1] not in found, f"{match[1]} is written twice in Python"
            found[match[1]] = {name: ast.literal_eval(value) for name, value, _ in assigned(node.body)}
    return found


def constants() -> dict[str, int]:
    """The name of the C constant -> the number in Python."""
    written = [(told, value) for tree in trees() for _, value, told in assigned(tree.body)]
    matches = [(re.match(r"(FTT_\w+):", told), value) for told, value in written]
    return {match[1]: ast.literal_eval(value) for match, value in matches if match}


def in_c(name: str, like: str) -> dict[str, int]:
    """An enum as C has it, without the prefix that stands before the name ``like``."""
    values = dict(ffi.typeof(f"enum {name}").relements)
    prefix = next(value.removesuffix(like) for value in values if value.endswith(f"_{like}"))
    assert all(value.startswith(prefix) for value in values)
    return {value.removeprefix(prefix): number for value, number in values.items()}


@pytest.mark.parametrize(("name", "numbers"), sorted(enums().items()), ids=sorted(enums()))
def test_an_enum_is_the_one_in_c(name: str, numbers: dict[str, int]) -> None:
    theirs = in_c(name, next(iter(numbers)))
    if "NONE" not in numbers:  # no value, but the lack of one
        theirs.pop("NONE", None)
    assert numbers == theirs


@pytest.mark.parametrize(("name", "number"), sorted(constants().items()), ids=sorted(constants()))
def test_a_constant_is_the_one_in_c(name: str, number: int) -> None:
    assert number == getattr(lib, name)


def test_every_enum_of_the_engine_that_python_has_a_word_for_is_compared() -> None:
    """An enum of `types.h` or `abi.h` is one that Python is told by, or tells."""
    headers = "".join((ROOT / "native" / name).read_text() for name in ("core/types.h", "engine/api/abi.h"))
    assert set(re.findall(r"^enum (ftt_\w+) \{", headers, re.M)) <= set(enums())


def test_another_number_is_noticed() -> None:
    assert in_c("ftt_mode", "IDLE") == {"IDLE": 0, "BACKUP": 1, "PAIRED": 2, "SOLO": 3}
    assert {"FTT_MAX_KEYS", "FTT_BEAT_BODY_MAX", "FTT_STAMPED_MAX", "FTT_MAX_WORKERS"} <= set(constants())
