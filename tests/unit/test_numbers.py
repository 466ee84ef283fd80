"""Numbers that C and Python share are written in C; this is how Python gets them."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

from cffi import FFI

from fttcp import _numbers
from fttcp._native import ffi, lib

ROOT = Path(__file__).parents[2]
HEADER = """
#define FTT_MOST 0x10 /* of them */
#define FTT_OTHER (FTT_MOST + 1)
/* What is seen { of it }. */
enum ftt_light {
	FTT_LIGHT_NONE = 0, /* dark */
	FTT_LIGHT_FAR_RED,
	FTT_LIGHT_RED = 4
};
enum ftt_lamp { FTT_LAMP_LEFT = 1, FTT_LAMP_RIGHT = 2 };
struct ftt_thing { int of_no_interest; };
"""


def test_enums_and_limits_become_a_module() -> None:
    make = runpy.run_path(str(ROOT / "native/ffi/numbers.py"))
    light = FFI()
    light.cdef(make["enums_in"](HEADER))
    made: dict[str, object] = {}
    exec(make["module"](light, HEADER), made)
    assert made["MOST"] == 16 and "OTHER" not in made
    assert [(one.name, one.value) for one in made["Light"]] == [("NONE", 0), ("FAR_RED", 1), ("RED", 4)]  # type: ignore[attr-defined]
    assert str(made["Lamp"](3)) == "3" and made["Lamp"](3) == made["Lamp"].LEFT | made["Lamp"].RIGHT  # type: ignore[operator, attr-defined]


def test_the_module_is_of_the_core_that_was_compiled() -> None:
    for name, kind in vars(_numbers).items():
        if isinstance(kind, type) and kind.__module__ == _numbers.__name__:
            theirs = ffi.typeof((kind.__doc__ or "").removeprefix("Values of ").rstrip(".")).relements
            assert sorted(one.value for one in kind) == sorted(theirs.values()), name
    assert _numbers.MAX_WORKERS == lib.FTT_MAX_WORKERS


def test_python_uses_nothing_of_the_core_that_it_has_not() -> None:
    """cffi tells of a name that is missing only when it is used."""
    used = {
        f"{path.relative_to(ROOT)}: {node.attr}"
        for top in ("fttcp", "lab", "tests")
        for path in (ROOT / top).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lib"
    }
    assert len(used) > 100
    assert not {one for one in used if not hasattr(lib, one.rpartition(" ")[2])}
