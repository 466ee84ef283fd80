"""A node daemon with the programmable engine, opened by hand with an experiment.

`python -m tests.integration.programmable_node CONFIG [--callback MODULE:FUNCTION]`
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fttcp.config import load
from fttcp.node.node import run
from fttcp.planes.base import EngineSettings
from fttcp.planes.experiment import load_callback
from fttcp.planes.liveness import Liveness
from fttcp.planes.programmable import ProgrammableEngine


def main() -> None:
    """Run the daemon."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--callback")
    chosen = parser.parse_args()

    def engine(settings: EngineSettings, liveness: Liveness) -> ProgrammableEngine:
        callback = load_callback(chosen.callback) if chosen.callback else None
        return ProgrammableEngine(settings, liveness, callback)

    run(load(chosen.config), chosen.config, engine)


if __name__ == "__main__":
    main()
