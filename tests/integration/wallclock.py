"""A wall clock that is off, for programs that are started with it (wallclock.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path


def library(directory: Path) -> Path:
    """Compile what is loaded into these programs."""
    made = directory / "wallclock.so"
    source = Path(__file__).with_name("wallclock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", made, source, "-ldl"], check=True)
    return made


def environment(library: Path, offset: Path) -> dict[str, str]:
    """What such a program needs. The file may be another one for each host."""
    return {"LD_PRELOAD": str(library), "WALLCLOCK_OFFSET": str(offset)}


def put_off(offset: Path, seconds: int) -> None:
    """Let the clock be off by so much from now on. The file is mapped: it keeps its length."""
    with offset.open("r+b" if offset.exists() else "wb") as file:
        file.write(f"{seconds:+031d}\n".encode())
