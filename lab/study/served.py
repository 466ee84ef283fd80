"""What the nodes of an experiment serve: commands of its own, a recipe, or the measuring client's server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.hosts import Host
from lab.probe.recipes import RECIPES, Recipe
from lab.probe.run import ROOT, Input, Probe
from lab.study.program import server_spec
from lab.study.schema import Client, Study

_FILES, _EXPECTED = "files", "expected"
"""In a directory of the run: a recipe's files, and what its download has."""


def asked(study: Study) -> tuple[list[str], list[str]]:
    """Return what a lab serves, and its settings."""
    settings = [f"{key}={_toml(value)}" for key, value in study.lab.set.items()]
    if recipe := RECIPES.get(study.lab.recipe):
        return [_probe(recipe).served], [*recipe.settings, *settings]
    return study.lab.serve or [server_spec()], settings


def preparation(study: Study, scratch: Path) -> Callable[[Host], None] | None:
    """Return what makes the files of its recipe, in a directory that clients see and for each node; None
    without a recipe."""
    recipe, files = RECIPES.get(study.lab.recipe), scratch / _FILES
    if recipe is None:
        return None
    made, probe = recipe, _probe(recipe, files)

    def prepare(host: Host) -> None:
        if not files.exists():
            files.mkdir()
            (scratch / _EXPECTED).write_bytes(made.prepare(files))
        probe.prepare(host)

    return prepare


def download(study: Study, client: Client, scratch: Path, address: str) -> list[str]:
    """Return the command of a client that measures the download of its recipe."""
    recipe = RECIPES[study.lab.recipe]
    assert recipe.stream is not None, "looked at by checks"
    meter = [
        sys.executable,
        "-m",
        "lab.probe.meter",
        str(scratch / _EXPECTED),
        str(client.gap_ms),
        str(client.bucket_ms),
    ]
    told = [f"SERVICE4={address}", f"PORT={recipe.first_port}", f"PYTHONPATH={ROOT}"]
    return ["env", *told, *meter, "sh", "-c", recipe.stream.replace("{files}", str(scratch / _FILES))]


def _probe(recipe: Recipe, files: Path | None = None) -> Probe:
    return Probe(f"{recipe.port}={recipe.command}", Input(()), recipe.settings, files)


def _toml(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
