"""The hooks with which tests on real kernels hold a daemon at a step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOLDS = Path(__file__).parents[1] / "integration" / "holds" / "sitecustomize.py"


def test_what_they_hook_into_is_there() -> None:
    """Told here at once, and not by a daemon of a lab that does not start."""
    program = f"import runpy; runpy.run_path({str(HOLDS)!r})['hold_steps']()"
    subprocess.run([sys.executable, "-c", program], check=True)
