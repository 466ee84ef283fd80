"""The measuring client: where it is, and how it is called."""

from __future__ import annotations

import shlex
from pathlib import Path

import fttcp
from lab.errors import LabError
from lab.study.plan import Run
from lab.study.schema import Client

PORT = 7300
"""Of its server, where an experiment names none."""


def program() -> str:
    """Return its path. Raises LabError when it was not built."""
    path = Path(fttcp.__file__).parent / "fttcp-client"
    if not path.exists():
        raise LabError(f"{path}: the measuring client is missing: run make build")
    return str(path)


def server_spec() -> str:
    """Return what the lab serves where an experiment names no server."""
    return f"{PORT}/tcp={shlex.quote(program())} --listen {PORT}"


def words(client: Client, run: Run, number: int, address: str) -> list[str]:
    """Return a client's command."""
    if client.command is not None:
        return ["sh", "-c", client.command]
    options = {
        "mode": client.measure,
        "connections": client.connections,
        "seconds": 0 if client.bytes else run.study.seconds,
        "bytes": client.bytes,
        "rate": client.rate,
        "size": client.size,
        "interval": client.interval_ms,
        "gap": client.gap_ms,
        "bucket": client.bucket_ms,
        "patience": client.patience_s,
        "seed": run.seed + number,
    }
    plain = ["--plain"] if run.study.lab.serve and client.port != PORT else []
    return [
        program(),
        *plain,
        *(f"--{key}={value}" for key, value in options.items()),
        address,
        str(client.port),
    ]
