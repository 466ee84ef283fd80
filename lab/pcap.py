"""Files of packets, with the lab's errors."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fttcp.wire import capture
from fttcp.wire.capture import CaptureWriter, Record
from lab.errors import LabError


def records(path: Path) -> Iterator[Record]:
    """What is in a file; a last record that is cut short ends it. Raises LabError if it is no such file."""
    try:
        yield from capture.records(path)
    except capture.CaptureError as error:
        raise LabError(str(error)) from error


def join(files: Mapping[str, Path], target: Path) -> None:
    """Put files, by the names of their links, into one of pcapng, in order of time; they are removed. Raises
    LabError."""
    with CaptureWriter(target, live=False) as joined:
        for one in heapq.merge(*(_of_link(*one) for one in files.items()), key=lambda record: record.time_ns):
            joined.write(one.interface, one.link, one.time_ns, one.data, one.length)
    for file in files.values():
        file.unlink()


def _of_link(name: str, file: Path) -> Iterator[Record]:
    for one in records(file):
        yield replace(one, interface=name)
