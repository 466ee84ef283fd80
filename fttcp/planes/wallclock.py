"""The kernel's hold on CLOCK_REALTIME, and who else has a hand on it: adjtimex(2)."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

SLEW_PPM = 250
"""By so much a clock that follows is faster or slower: CLOCK_REALTIME, and CLOCK_BOOTTIME with it, by which
leases are counted. The kernel does up to 500 us of what it is given in the next second (MAX_TICKADJ of
kernel/time/ntp.c), so it is given half of that, every second."""
QUARTZ_PPM = 200
"""By so much two clocks may differ in rate by themselves."""
LEAST_DRIFT_PPM = 2 * SLEW_PPM + QUARTZ_PPM
"""Of two clocks that follow a third one, one may be put forward while the other is put back."""
_SINGLE_SHOT, _TIME_ERROR = 0x8001, 5
"""ADJ_OFFSET_SINGLESHOT; what is returned for a clock that nobody keeps (linux/timex.h)."""
_SERVICES = {"chronyd", "ntpd", "openntpd", "systemd-timesyn", "phc2sys"}
"""As /proc/PID/comm has them: 15 characters."""


class _Timex(ctypes.Structure):
    """The beginning of struct timex, and more room than the rest of it takes."""

    _fields_ = (("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("rest", ctypes.c_char * 512))


def _adjtimex(modes: int = 0, offset_us: int = 0) -> int:
    """Return the state of the clock. Raises OSError."""
    timex = _Timex(modes, offset_us)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(state)


def is_kept() -> bool:
    """True if the kernel calls the clock synchronised. Changes nothing. Raises OSError where adjtimex(2)
    is not allowed at all."""
    return _adjtimex() != _TIME_ERROR


def keeper() -> str:
    """Return the time service that runs here, '' if there is none. Looks at every process: for a thread.
    Raises OSError."""
    for entry in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended
            name = entry.read_text().strip()
            if name in _SERVICES:
                return name
    return "a time service" if is_kept() else ""


def slew(offset_us: int) -> None:
    """Put the clock forward, or back if negative, in the next second: by SLEW_PPM at most. Nothing has to be
    undone: the frequency stays as it is. Raises OSError."""
    assert abs(offset_us) <= SLEW_PPM
    _adjtimex(_SINGLE_SHOT, offset_us)
