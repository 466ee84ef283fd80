"""Events: numbered, kept, passed on without ever making the node wait."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from fttcp.config import NodeSection, Notify
from fttcp.report.events import Event, History
from fttcp.report.history import NAME, FileSink, last_number, older, read
from fttcp.report.notify import FifoSink, HookSink, NotifyError, environment
from fttcp.report.outlets import JournalSink, Outlet, StreamSink, journal_entry, sentence
from fttcp.report.reporting import Reporting
from lab.hosts import await_condition


def event(number: int = 1, level: str = "info", kind: str = "role", **fields: Any) -> Event:
    return {
        "number": number,
        "time": "2031-05-30T12:00:00+00:00",
        "level": level,
        "node": "alpha",
        "group": "web",
        "event": kind,
        **fields,
    }


class Collector:
    """A sink that hangs while its gate is shut."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.gate = threading.Event()

    def write(self, event: Event) -> None:
        self.gate.wait()
        self.seen.append(event)

    def close(self) -> None:
        self.seen.append({"event": "closed"})


def test_the_history_is_bounded_and_numbered_on() -> None:
    seen: list[Event] = []
    history = History("alpha", [seen.append], last=40, keep=3)
    for number in range(5):
        history.add("thing", "warning" if number == 4 else "info", "web", value=number)
    assert [event["number"] for event in history.since(43)] == [44, 45]
    assert len(history.since(0)) == 3 and len(seen) == 5
    assert history.counts["thing"] == 5
    history.ignore(seen.append)
    history.add("other")
    assert len(seen) == 5


def test_a_sink_that_hangs_delays_nobody_and_the_gap_is_told() -> None:
    sink = Collector()
    outlet = Outlet("test", [sink], limit=2)
    for number in range(10):
        outlet.put(event(number))
    assert outlet.lost >= 7  # one is in the sink's hands, perhaps, and two wait
    lost = outlet.lost
    sink.gate.set()
    outlet.close()
    gaps = [e for e in sink.seen if e["event"] == "events-lost"]
    assert [gap["count"] for gap in gaps] == [lost] and gaps[0]["outlet"] == "test"
    assert sink.seen[-1]["event"] == "closed"
    assert len(sink.seen) == 10 - lost + 2


def test_a_sink_that_fails_is_named_until_it_works_again(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(Collector):
        full = True

        def write(self, event: Event) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            if event["number"] == 3:
                raise ValueError("what nobody thought of")
            super().write(event)

    sink = Full()
    sink.gate.set()
    outlet = Outlet("disk", [sink])
    outlet.put(event(1))
    outlet.put(event(2))
    await_condition(lambda: outlet.trouble != "", 10, "the sink is in trouble")
    assert "No space left" in outlet.trouble
    sink.full = False
    outlet.put(event(3))
    await_condition(lambda: "nobody thought of" in outlet.trouble, 10, "the sink has other trouble")
    outlet.put(event(4))
    await_condition(lambda: not outlet.trouble, 10, "the trouble ends")
    outlet.close()
    assert capsys.readouterr().err.count("No space left") == 1


def test_levels_of_the_log() -> None:
    log = io.StringIO()
    sink = StreamSink("warning", log)
    for level in ("debug", "info", "warning", "error"):
        sink.write(event(level=level))
    assert [json.loads(line)["level"] for line in log.getvalue().splitlines()] == ["warning", "error"]


def test_the_file_is_bounded_and_numbers_go_on_from_it(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, most_bytes=4096)
    for number in range(1, 101):
        sink.write(event(number))
    sink.write(event(101, level="debug"))
    sink.close()
    kept = [e["number"] for e in read(tmp_path)]
    assert kept == list(range(kept[0], 101)) and 10 < len(kept) < 100
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size <= 4096 and older(tmp_path / NAME).exists()
    assert last_number(tmp_path) == 100
    with (tmp_path / NAME).open("a") as file:
        file.write('{"number": 101, "ti')  # a crash cut it off
    assert last_number(tmp_path) == 100 and next(reversed(list(read(tmp_path))))["number"] == 100
    (tmp_path / NAME).unlink()
    assert last_number(tmp_path) == kept[-1] - len(kept) + len(list(read(tmp_path)))


def test_no_file_yet_is_an_empty_history(tmp_path: Path) -> None:
    assert last_number(tmp_path / "none") == 0 and list(read(tmp_path / "none")) == []


def test_a_journal_entry_has_fields_and_survives_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        journal.settimeout(5)
        sink = JournalSink("info", path)
        sink.write(event(kind="takeover", cause="peer-lost", level="warning", epoch=4))
        sink.write(event(level="debug"))
        sink.close()
        lines = journal.recv(65536).decode().splitlines()
        journal.setblocking(False)
        with pytest.raises(BlockingIOError):
            journal.recv(1)
    assert {"PRIORITY=4", "SYSLOG_IDENTIFIER=fttcp", "FTTCP_EVENT=takeover", "FTTCP_EPOCH=4"} <= set(lines)
    assert "MESSAGE=web: takeover cause peer-lost, epoch 4" in lines
    raw = journal_entry(event(why="one\ntwo"))
    assert b"FTTCP_WHY\n" + (7).to_bytes(8, "little") + b"one\ntwo\n" in raw


def test_a_sentence_for_people() -> None:
    assert sentence(event(why="two words", count=3)) == "web: role why two words, count 3"


def test_a_hook_gets_every_field_in_its_environment(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$FTTCP_EVENT $FTTCP_GROUP $FTTCP_WAS_ROLE" >>{tmp_path}/out\n')
    hook.chmod(0o755)
    sink = HookSink(str(hook), ["role"], 10)
    sink.write(event(was_role="backup"))
    sink.write(event(kind="carrier"))
    assert (tmp_path / "out").read_text() == "role web backup\n"
    assert json.loads(environment(event(count=3))["FTTCP_JSON"])["count"] == 3


def test_what_no_environment_can_have_is_written_so_that_it_can(tmp_path: Path) -> None:
    """What a program says before it fails is in events: it may be anything."""
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\nprintf %s "$FTTCP_WHY" >{tmp_path}/out\n')
    hook.chmod(0o755)
    HookSink(str(hook), ["role"], 10).write(event(why="a\0b"))
    assert (tmp_path / "out").read_text() == "a\\0b"


def test_a_hook_that_hangs_is_killed_with_its_children_and_named(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nsleep 600 & echo $! >{tmp_path}/pid; wait\n")
    hook.chmod(0o755)
    with pytest.raises(OSError, match="killed after"):
        HookSink(str(hook), ["role"], 1).write(event())
    pid = int((tmp_path / "pid").read_text())
    await_condition(
        lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(),
        10,
        "the hook ends",
    )
    hook.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(OSError, match="status 3"):
        HookSink(str(hook), ["role"], 1).write(event())


def test_a_fifo_never_blocks_and_delivers_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    sink = FifoSink(path)
    sink.write(event(1))
    assert sink.lost == 1  # nobody reads
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    written = 0
    while sink.lost == 1:  # the reader does not read: at last the pipe is full
        sink.write(event(written + 2, kind="x" * 1000))
        written += 1
    data = b""
    while True:
        try:
            data += os.read(reader, 65536)
        except BlockingIOError:
            break
    lines = data.decode().splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(2, written + 1))
    sink.write(event(9, why="y" * 5000))
    short = json.loads(os.read(reader, 65536))
    assert short["number"] == 9 and short["shortened"] and "why" not in short
    os.close(reader)
    lost = sink.lost
    sink.write(event(10))
    assert sink.lost == lost + 1
    sink.close()
    assert not path.exists()


def test_what_is_no_fifo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotifyError, match="is no FIFO"):
        FifoSink(tmp_path / "file")


def node(tmp_path: Path, **settings: Any) -> NodeSection:
    return NodeSection(
        name="alpha", cluster="test", key_file="/k", service_interface="a", peer_interface="b",
        state_dir=str(tmp_path / "state"), log_level="error", **settings,
    )  # fmt: skip


def test_reporting_keeps_numbers_and_changes_what_changed(tmp_path: Path) -> None:
    reporting = Reporting(node(tmp_path))
    reporting.history.add("one")
    fifo = tmp_path / "fifo"
    reporting.change(node(tmp_path, notify=Notify(fifo=str(fifo))))
    assert fifo.exists() and {outlet["name"] for outlet in reporting.outlets()} == {
        "log",
        "history",
        "notify fifo",
    }
    reporting.history.add("two")
    (tmp_path / "plain").write_text("")
    with pytest.raises(NotifyError):
        reporting.change(node(tmp_path, notify=Notify(fifo=str(tmp_path / "plain"))))
    assert fifo.exists()
    running = threading.active_count()
    with pytest.raises(NotifyError):
        reporting.change(node(tmp_path, history_kib=2048, notify=Notify(fifo=str(tmp_path / "plain"))))
    assert threading.active_count() == running, "what was refused leaves nothing that runs"
    (stale,) = reporting.change(node(tmp_path))
    stale.close()
    assert not fifo.exists()
    reporting.close()
    assert [e["event"] for e in read(tmp_path / "state")] == ["one", "two"]
    again = Reporting(node(tmp_path))
    again.history.add("three")
    assert again.history.since(0)[0]["number"] == 3
    again.close()
