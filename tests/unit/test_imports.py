"""Imports run one way: ownership <- wire <- middle <- config <- report <- group <- face <- node <- cli."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIDDLE = {
    "planes",
    "network",
    "server",
    "arbiter",
    "history",
}  # apart from each other; where they meet, a group stands between
NATIVE = {"_native"}
# Part of the package -> the parts that it may import, apart from itself and the version in `fttcp`.
ALLOWED = {
    "ownership": set(),
    "wire": {"ownership"},
    "_native": {"_ftt"},
    **{part: {"ownership", "wire"} | NATIVE for part in MIDDLE},
    "planes": {"ownership", "wire", "network"} | NATIVE,
    "config": {"ownership", "wire"} | MIDDLE | NATIVE,
    "explain": {"ownership", "wire", "config", "planes"} | NATIVE,
    "report": {"ownership", "wire", "config"},
    "group": {"ownership", "wire", "config", "report"} | MIDDLE | NATIVE,
    "face": {"ownership", "wire", "config", "report", "group"} | MIDDLE,
    "node": {"ownership", "wire", "config", "report", "group", "face"} | MIDDLE | NATIVE,
    "cli": {"node", "explain", "face", "config", "report", "ownership", "wire"} | MIDDLE,
    "lab": {"cli", "config", "planes.experiment", "wire.capture"},
}
IMPURE = {"time", "socket", "asyncio", "random", "os", "threading"}


def sources() -> list[Path]:
    return sorted(path for top in ("fttcp", "lab") for path in (ROOT / top).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, by full name, wherever in the file the import stands."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    """`fttcp.ownership.detector` -> `ownership`; `lab.cli` -> `lab`; anything else -> ''."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "fttcp" else "lab" if top == "lab" else ""


def is_allowed(importer: str, imported: str) -> bool:
    part, target = part_of(importer), part_of(imported)
    if target in ("", "__version__", part):
        return True
    if part in ("", "__main__"):
        return False
    if part == "cli" and target == "lab":
        return True  # the sub-commands `lab` and `demo` are loaded by name
    below = imported.removeprefix("fttcp.")
    return any(below == name or below.startswith(name + ".") for name in ALLOWED[part])


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    importer = module_name(path)
    breaches = [imported for imported in imports(path) if not is_allowed(importer, imported)]
    assert not breaches, f"{importer} must not import {', '.join(breaches)}"


@pytest.mark.parametrize("path", sorted((ROOT / "fttcp/ownership").rglob("*.py")), ids=lambda path: path.name)
def test_the_role_machine_is_pure(path: Path) -> None:
    impure = {name.partition(".")[0] for name in imports(path)} & IMPURE
    assert not impure, (
        f"{path}: the role machine is given time, input and chance; it must not import {impure}"
    )


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
