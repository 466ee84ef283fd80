"""No file needs, by imports, directly or not, one that needs it; and imports between parts run one way.

ownership <- wire <- middle <- config <- report <- group <- face <- node <- cli.
"""

import ast
from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIDDLE = {
    "planes",
    "network",
    "server",
    "arbiter",
    "history",
    "spread",
    "sync",
}  # apart from each other; where they meet, a group stands between
NATIVE = {"_native"}
# Part of the package -> the parts that it may import, apart from itself, the version in `fttcp`, `_numbers`.
ALLOWED = {
    "_numbers": set(),
    "ownership": set(),
    "cluster": set(),
    "wire": {"ownership"},
    "_native": {"_ftt"},
    **{part: {"ownership", "wire"} | NATIVE for part in MIDDLE},
    "planes": {"ownership", "wire", "network"} | NATIVE,
    "config": {"ownership", "cluster", "wire"} | MIDDLE | NATIVE,
    "explain": {"ownership", "wire", "config", "planes"} | NATIVE,
    "report": {"ownership", "wire", "config"},
    "group": {"ownership", "wire", "config", "report"} | MIDDLE | NATIVE,
    "face": {"ownership", "wire", "config", "report", "group"} | MIDDLE,
    "node": {"ownership", "cluster", "wire", "config", "report", "group", "face"} | MIDDLE | NATIVE,
    "cli": {"cluster", "node", "explain", "face", "config", "report", "ownership", "wire"} | MIDDLE,
    "lab": {"cli", "config", "ownership.model", "planes.experiment", "server.calls", "wire.capture"},
}
IMPURE = {"time", "socket", "asyncio", "random", "os", "threading"}


def sources() -> list[Path]:
    return sorted(path for top in ("fttcp", "lab") for path in (ROOT / top).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, by full name, wherever in the file the import stands."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found += (f"{origin}.{alias.name}" for alias in node.names)
    return tuple(found)


def needs(paths: list[Path]) -> dict[str, set[str]]:
    """Which of these files each of them imports, in a function or for types alone too, by module names.

    A name that is imported from a package is a file of that, or is defined in its ``__init__.py``. That
    Python loads a package before its files is no need of theirs.
    """
    files = {module_name(path): path for path in paths}

    def file_of(name: str) -> str:
        return name if name in files else name.rpartition(".")[0]

    return {
        name: files.keys() & {file_of(one) for one in imports(path)} - {name} for name, path in files.items()
    }


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the files of one circle, the first one at both ends; nothing if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def part_of(module: str) -> str:
    """`fttcp.ownership.detector` -> `ownership`; `lab.cli` -> `lab`; anything else -> ''."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "fttcp" else "lab" if top == "lab" else ""


def is_allowed(importer: str, imported: str) -> bool:
    part, target = part_of(importer), part_of(imported)
    if target in ("", "__version__", "_numbers", part):
        return True
    if part in ("", "__main__"):
        return False
    if part == "cli" and target == "lab":
        return True  # the sub-commands `lab` and `demo` are loaded by name
    below = imported.removeprefix("fttcp.")
    return any(below == name or below.startswith(name + ".") for name in ALLOWED[part])


def test_there_is_no_circle_of_files() -> None:
    """Nor is one hidden by an import in a function, or under TYPE_CHECKING."""
    rest = [path for top in ("packaging", "tests") for path in (ROOT / top).rglob("*.py")]
    helpers = [path for path in rest if not path.name.startswith("test_")]
    graph = needs([*sources(), *helpers])
    assert {"fttcp.group.group", "lab.lifecycle", "tests.sim.world"} <= graph.keys()
    found = circle(graph)
    assert not found, " needs ".join(found)


def test_a_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    texts = {
        "fttcp/__init__.py": "from . import a",
        "fttcp/a.py": "def late():\n    from .b import Thing",
        "fttcp/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import fttcp.c",
        "fttcp/c.py": "from fttcp import a",
        "fttcp/d.py": "import fttcp.a",
    }
    (tmp_path / "fttcp").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = circle(needs(sources()))
    assert found[0] == found[-1] and set(found) == {"fttcp.a", "fttcp.b", "fttcp.c"}
    (tmp_path / "fttcp/c.py").write_text("import os")
    imports.cache_clear()
    assert not circle(needs(sources()))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    importer = module_name(path)
    breaches = [imported for imported in imports(path) if not is_allowed(importer, imported)]
    assert not breaches, f"{importer} must not import {', '.join(breaches)}"


@pytest.mark.parametrize(
    "path",
    sorted(path for room in ("ownership", "cluster") for path in (ROOT / "fttcp" / room).rglob("*.py")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_decisions_about_roles_are_pure(path: Path) -> None:
    impure = {name.partition(".")[0] for name in imports(path)} & IMPURE
    assert not impure, f"{path}: decisions are given time, input and chance; it must not import {impure}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_native_imports_the_extension(path: Path) -> None:
    users = [name for name in imports(path) if name == "fttcp._ftt" or name.startswith("fttcp._ftt.")]
    assert not users or module_name(path) == "fttcp._native"


def test_a_breach_is_found() -> None:
    assert not is_allowed("fttcp.ownership.group", "fttcp.wire.codec")
    assert not is_allowed("fttcp.wire.codec", "fttcp.node.node")
    assert not is_allowed("fttcp.network.rules", "fttcp.server.watch")
    assert not is_allowed("lab.hosts", "fttcp.network.rules")
    assert is_allowed("fttcp.node.node", "fttcp.network.rules")
    assert is_allowed("lab.hosts", "fttcp.config.load")
