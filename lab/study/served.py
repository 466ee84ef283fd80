"""What the nodes of an experiment serve: commands, a recipe, or the measuring client's server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.hosts import Host
from lab.probe.recipes import RECIPES, Recipe
from lab.probe.run import ROOT, Input, Probe
from lab.study.program import server_spec
from lab.study.schema import Client, Server, Study

FILES, EXPECTED = "files", "expected"
"""In a directory of the run: a server's files, and what its download has, if that is known."""


def recipe_of(study: Study) -> Recipe | None:
    """Return what ``lab.recipe`` names: a server of the file, or one that comes with fttcp; else None."""
    own = {server.name: server for server in study.server}
    name = study.lab.recipe
    return _own(own[name]) if name in own else RECIPES.get(name)


def _own(server: Server) -> Recipe:
    """A server of an experiment as a recipe."""

    def prepare(place: Path) -> bytes:
        if server.files:
            shutil.copytree(server.files, place, symlinks=True, dirs_exist_ok=True)
        return (place / server.expect).read_bytes() if server.expect else b""

    settings = tuple(f"{key}={_toml(value)}" for key, value in server.set.items())
    return Recipe(
        server.name, server.ports, server.command, prepare, version="", packages=(),
        stream=server.stream or None, proof=server.proof or None, settings=settings,
    )  # fmt: skip


def asked(study: Study) -> tuple[list[str], list[str]]:
    """Return what a lab serves, and its settings."""
    settings = [f"{key}={_toml(value)}" for key, value in study.lab.set.items()]
    if recipe := recipe_of(study):
        return [_probe(recipe).served], [*recipe.settings, *settings]
    return study.lab.serve or [server_spec()], settings


def preparation(study: Study, scratch: Path) -> Callable[[Host], None] | None:
    """Return what makes the files of its recipe, in a directory that clients see and for each node; None
    without a recipe. That raises LabError."""
    recipe, files = recipe_of(study), scratch / FILES
    if recipe is None:
        return None
    made, probe = recipe, _probe(recipe, files)

    def prepare(host: Host) -> None:
        if not files.exists():
            _make(made, files, scratch / EXPECTED)
        probe.prepare(host)

    return prepare


def _make(recipe: Recipe, files: Path, expected: Path) -> None:
    files.mkdir(mode=0o755)
    try:
        content = recipe.prepare(files)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(files)
        said = getattr(error, "stderr", None) or b""
        raise LabError(
            f"{recipe.name}: its files cannot be made: {error} {said.decode(errors='replace')[-300:]}"
        ) from error
    if content:
        expected.write_bytes(content)


def streaming(study: Study, scratch: Path) -> tuple[str, int]:
    """Return what a shell does for the download of its recipe, and the port of that."""
    recipe = recipe_of(study)
    assert recipe is not None and recipe.stream is not None, "looked at by checks"
    return recipe.stream.replace("{files}", str(scratch / FILES)), recipe.first_port


def download(study: Study, client: Client, scratch: Path, address: str) -> list[str]:
    """Return the command of a client that measures the download of its recipe."""
    script, port = streaming(study, scratch)
    expected = scratch / EXPECTED
    meter = [
        sys.executable,
        "-m",
        "lab.probe.meter",
        str(expected) if expected.exists() else "",
        str(client.gap_ms),
        str(client.bucket_ms),
    ]
    told = [f"SERVICE4={address}", f"PORT={port}", f"PYTHONPATH={ROOT}"]
    return ["env", *told, *meter, "sh", "-c", script]


def _probe(recipe: Recipe, files: Path | None = None) -> Probe:
    return Probe(f"{recipe.port}={recipe.command}", Input(()), recipe.settings, files)


def _toml(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
