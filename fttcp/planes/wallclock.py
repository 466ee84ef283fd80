"""The kernel's hold on CLOCK_REALTIME, and who else has a hand on it: adjtimex(2)."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

SLEW_PPM = 500
"""By so much the kernel makes a clock faster or slower (MAX_TICKADJ of kernel/time/ntp.c): CLOCK_REALTIME,
and CLOCK_BOOTTIME with it, by which leases are counted."""
QUARTZ_PPM = 200
"""By so much two clocks may differ in rate by themselves."""
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
    """True if the kernel calls the clock synchronised. Changes nothing."""
    return _adjtimex() != _TIME_ERROR


def keeper() -> str:
    """Return the time service that runs here, '' if there is none. Looks at every process: for a thread."""
    for entry in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended
            name = entry.read_text().strip()
            if name in _SERVICES:
                return name
    return "a time service" if is_kept() else ""


def slew(offset_us: int) -> None:
    """Put the clock forward, or back if negative, by SLEW_PPM until it is done; what was left of an earlier
    call is dropped. Nothing has to be undone: the frequency stays as it is. Raises OSError."""
    _adjtimex(_SINGLE_SHOT, offset_us)
