"""Removes what a killed daemon left: processes, network settings, files of the run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fttcp.network.network import cleanup
from fttcp.network.tables import groups_of
from fttcp.node.rundir import PID_FILE, only_one
from fttcp.server.aftermath import kill_leftovers
from fttcp.server.process import RECORD as SERVERS_RECORD

SOCKET = "control.sock"


async def clean(run_dir: Path) -> dict[str, Any]:
    """Remove everything and return what there was, also if the run directory was emptied; may be repeated.
    Servers end first, the firewall rules go
    last: until then nothing of a group passes. Raises BusyError while a daemon runs there, KernelError or
    RulesError if something cannot be undone (the records stay, and it can be tried again)."""
    found: dict[str, Any] = {
        "servers": 0,
        "rules": [],
        "addresses": [],
        "tables": [],
        "sysctls": [],
        "files": [],
    }
    with _existing(run_dir):
        return await _clean(run_dir, found)


@contextmanager
def _existing(run_dir: Path) -> Iterator[None]:
    """A cleaner of temporary files may have been there; what was made for us alone goes again."""
    made = not run_dir.is_dir()
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made:
            run_dir.rmdir()


async def _clean(run_dir: Path, found: dict[str, Any]) -> dict[str, Any]:
    stale = [name for name in (PID_FILE, SOCKET) if (run_dir / name).exists()]
    with only_one(run_dir):
        found["servers"] = sum(map(kill_leftovers, sorted(run_dir.glob(f"*.{SERVERS_RECORD}"))))
        record = await cleanup(run_dir)
        (run_dir / SOCKET).unlink(missing_ok=True)
    return found | {
        "rules": sorted({name for name, _ in record.rules} | groups_of(record.nft)),
        "addresses": sorted(record.addresses),
        "tables": sorted(record.tables),
        "sysctls": sorted(record.sysctls),
        "files": stale,
    }
