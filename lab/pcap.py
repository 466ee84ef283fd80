"""Files of packets, with the lab's errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fttcp.wire import capture
from fttcp.wire.capture import Record
from lab.errors import LabError


def records(path: Path) -> Iterator[Record]:
    """What is in a file; a last record that is cut short ends it. Raises LabError if it is no such file."""
    try:
        yield from capture.records(path)
    except capture.CaptureError as error:
        raise LabError(str(error)) from error
