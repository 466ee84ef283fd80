"""Removes a lab when whoever made it has ended: ``python -m lab.probe.sweep NAME``, with a pipe as stdin."""

from __future__ import annotations

import signal
import sys

from lab.lifecycle import Lab


def main() -> None:
    """The program."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    Lab(sys.argv[1]).down()


if __name__ == "__main__":
    main()
