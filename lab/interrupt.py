"""SIGTERM and SIGHUP as Ctrl-C: who ends a program of the lab by one of them leaves no lab behind."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within it the first of these signals is a KeyboardInterrupt, and more of them are nothing; behind it
    the program ends with status 128 + number. What is ignored stays so (nohup). Of the main thread only."""
    struck = 0

    def strike(number: int, _: FrameType | None) -> None:
        nonlocal struck
        if not struck:
            struck = number
            raise KeyboardInterrupt

    wanted = [number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, strike) for number in wanted}
    try:
        yield
    except KeyboardInterrupt:
        if struck:
            sys.exit(128 + struck)
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is begun within it is finished: the first of these signals, and of SIGINT, strikes at its end.
    They strike the main thread only, so in another one there is nothing to do."""
    struck: list[int] = []

    def strike(number: int, _: FrameType | None) -> None:
        struck.append(number)

    main = threading.current_thread() is threading.main_thread()
    wanted = [n for n in (signal.SIGINT, *ENDS) if main and signal.getsignal(n) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, strike) for number in wanted}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if struck:
            signal.raise_signal(struck[0])
