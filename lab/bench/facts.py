"""What the figures depend on: the machine, the versions of all programs, how it was measured."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fttcp
from lab.bench import programs

GIB = 1 << 30
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def machine() -> dict[str, Any]:
    """Return processor, memory, kernel, governor, and how busy it is now."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_GiB": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        "kernel": platform.release(),
        "governor": GOVERNOR.read_text().strip() if GOVERNOR.exists() else "none",
        "load_at_start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
    }


def versions() -> dict[str, str]:
    """Return the version of fttcp (with its commit, where that can be told) and of every program in use."""
    found = {"fttcp": fttcp.__version__ + _commit(), "python": platform.python_version()}
    return found | {name: programs.version(name) or "absent" for name in programs.VERSION_OPTION}


def settings(repeat: int, against: Sequence[str], patterns: Sequence[str], short: bool) -> dict[str, Any]:
    """Return what was asked for."""
    return {
        "passes": repeat,
        "against": ", ".join(against) or "nothing",
        "scenarios": ", ".join(patterns) or "all",
        "short": short,
    }


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(git, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""
