"""Each file is short enough to be read at once, and each function to be seen at once. No exceptions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE, FUNCTION = 500, 70
"""Lines, at most."""
KINDS = {".py", ".c", ".h", ".sh"}
PLACES = ("fttcp", "lab", "native", "model", "packaging", "scripts", "tests", "findings")
BODY = re.compile(r"^[A-Za-z_][^;{}]*\)[^;{}]*\n\{\n.*?^\}", re.MULTILINE | re.DOTALL)
"""A function of C from its first line to its last brace, as all of ours are laid out (K&R)."""


@cache
def sources() -> list[Path]:
    """Return what people have written: programs, headers, scripts."""
    found = (path for place in PLACES for path in (ROOT / place).rglob("*") if path.is_file())
    return sorted(path for path in found if "build" not in path.relative_to(ROOT).parts and is_source(path))


def is_source(path: Path) -> bool:
    if path.suffix in KINDS:
        return True
    with path.open("rb") as file:
        return not path.suffix and file.read(2) == b"#!"


def functions(path: Path, text: str) -> Iterator[tuple[str, int]]:
    """Each function of a file, and how many lines it has."""
    if path.suffix in (".c", ".h"):
        for match in BODY.finditer(text):
            yield match[0].partition("\n")[0], match[0].count("\n") + 1
    elif path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("place", PLACES)
def test_files_and_functions_are_short(place: str) -> None:
    long = []
    for path in sources():
        name = path.relative_to(ROOT)
        if name.parts[0] != place:
            continue
        text = path.read_text()
        if (lines := text.count("\n")) > FILE:
            long.append(f"{name}: {lines} lines; divide it where one concept ends (at most {FILE})")
        long += [
            f"{name}: {function}: {count} lines (at most {FUNCTION})"
            for function, count in functions(path, text)
            if count > FUNCTION
        ]
    assert not long, "\n".join(long)


def test_what_is_measured_is_there() -> None:
    """Else a changed style would hide all of it."""
    seen = {str(path.relative_to(ROOT)): path for path in sources()}
    assert {"fttcp/group/group.py", "native/core/log.h", "scripts/debian-packages"} <= seen.keys()
    in_c = dict(functions(path := seen["native/engine/worker.c"], path.read_text()))
    assert "void *ftt_worker_run(void *arg)" in in_c and len(in_c) > 15
    lines = "\tx();\n" * 70
    text = f"static int f(int a,\n\t\tint b)\n{{\n{lines}}}\n\nstruct s {{\n{lines}}};\n"
    assert list(functions(Path("x.c"), text)) == [("static int f(int a,", 74)]
