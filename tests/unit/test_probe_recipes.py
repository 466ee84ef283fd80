"""The recipes of `python -m lab.probe.table`, and what becomes of their rows."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from lab.nodeconfig import parse_serve
from lab.probe import table
from lab.probe.recipes import RECIPES, Recipe
from lab.probe.table import Row, markdown


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_served(name: str) -> None:
    recipe = RECIPES[name]
    ports, (command,) = parse_serve([f"{recipe.port}={recipe.command}"])
    assert all(port.endswith(("/tcp", "/udp")) for port in ports)
    assert shlex.split(command)[0] in ("sh", "env", recipe.program, "node", "java")
    assert recipe.packages and all(re.fullmatch(r"[a-z0-9.+-]+", package) for package in recipe.packages)
    for script in filter(None, (recipe.client, recipe.stream)):
        assert "$SERVICE4" in script and "{}" not in script


def test_what_is_not_installed_is_said_and_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(table.shutil, "which", lambda *_, **__: None)
    row = table.tried("nginx", False)
    assert row.without is None and "nginx-light not installed" in row.note


@pytest.mark.parametrize("command", ["fttcp-no-such-program", "false"])
def test_files_that_cannot_be_made_are_told_in_the_row(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def prepare(place: Path) -> str:
        subprocess.run([command], cwd=place, check=True)
        return ""

    monkeypatch.setitem(RECIPES, "odd", Recipe("odd", "80/tcp", "true", prepare, "echo 1.0", ("odd",)))
    row = table.tried("odd", False)
    assert row.without is None and "not tried" in row.note and command in row.note


def test_the_rows_of_the_documentation_can_be_repeated() -> None:
    page = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()
    table = page.partition("| probed |")[2].partition("\n\n")[0]
    probed = re.findall(r"`([a-z0-9-]+)`", " ".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert set(probed) == set(RECIPES)


def test_a_table() -> None:
    rows = [
        Row("one", "1.2", "same", crash="goes on", gap_ms=81.6, note="its note", settings=("a=1",)),
        Row("two", "3.4", "differs, detached", "refused", "lost"),
    ]
    _, _, first, second = markdown(rows)
    assert first == "| `one`: `a=1`; its note | 1.2 | same |  | goes on, gap 82 ms |"
    assert second == "| `two` | 3.4 | differs, detached | refused | lost |"
