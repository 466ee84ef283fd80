"""Playbooks: what one role machine is told, and what it answers, as a text that people read.

    # free text
    with peers=beta arbiter=none       the node's name is alpha; `arbiter`: none, witness or etcd
    after pairing-primary              or: it goes on where the playbook of that name ends
    >> PeerHeard beta boot_id=7        it is told this
    << Publish links=beta:p            and wants that done, in this order
    .. 500ms                           time passes
    .. until Propose                   time passes until it wants that
    .. halted 700ms                    time passes, and the node stands still
    == paired                          the phase that it is in now

Lines that begin with `<<` or `==` are the machine's. `played` plays the others and writes these anew; a test
compares that with the text.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Settings
from fttcp.ownership.pair import PairMachine
from tests.telling import Reading, Telling, span_ns

FOLDER = Path(__file__).parent / "playbooks"
D = 100 * NS_PER_MS
SETTINGS = Settings("web", "alpha", ("beta",), 100, D, 1000, 500 * NS_PER_MS, boot_id=1)
SOLO_LEASE_NS = 10 * D
_LONGEST_NS = 60_000 * NS_PER_MS
_ASKING = do.Propose | do.RenewLease | do.Inquire


class Playbook:
    """One machine on a clock that moves only when the text says so."""

    def __init__(self, settings: Settings) -> None:
        self.now_ns = 10**12
        self.machine = PairMachine(settings, self.now_ns)
        self._telling = Telling(settings.name, settings.peers)
        self._reading = Reading(settings.name, settings.peers, settings.lease_ns)

    def hear(self, line: str) -> list[str]:
        """`>> EVENT`."""
        return self._step(self._reading.event(line, self.now_ns))[1]

    def wait(self, what: str) -> list[str]:
        """`.. TIME`, `.. until COMMAND` or `.. halted TIME`."""
        if what.startswith("halted "):
            self.now_ns += span_ns(what.removeprefix("halted "))
            return []
        until = what.removeprefix("until ") if what.startswith("until ") else ""
        start_ns, lines = self.now_ns, list[str]()
        end_ns = start_ns + (_LONGEST_NS if until else span_ns(what))
        while (due_ns := self.machine.deadline_ns()) is not None and due_ns <= end_ns:
            self.now_ns = due_ns
            commands, more = self._step(ev.DeadlineReached())
            lines += [f"[{(due_ns - start_ns) / NS_PER_MS:.4g}ms] {line}" for line in more]
            if until and any(type(command).__name__ == until for command in commands):
                return lines
        if until:
            raise ValueError(f"no {until} within {_LONGEST_NS // NS_PER_MS} ms")
        self.now_ns = end_ns
        return lines

    def _step(self, event: ev.Event) -> tuple[list[do.Command], list[str]]:
        commands = self.machine.step(event, self.now_ns)
        for command in commands:
            if isinstance(command, _ASKING):
                self._reading.asked = command.request
        return commands, [self._telling.told(command, self.now_ns) for command in commands]


def settings_of(words: list[str]) -> Settings:
    """`with peers=beta,gamma arbiter=witness priority=50`: a machine cannot tell witness and etcd apart."""
    given = dict(word.split("=", 1) for word in words)
    solo_lease_ns = {"none": 0, "witness": SOLO_LEASE_NS, "etcd": SOLO_LEASE_NS}[given.pop("arbiter")]
    peers = tuple(given.pop("peers").split(","))
    settings = replace(SETTINGS, peers=peers, solo_lease_ns=solo_lease_ns)
    for key, value in given.items():
        settings = replace(settings, **{key: {"yes": True, "no": False}.get(value) or int(value)})
    return settings


def played(text: str, folder: Path = FOLDER) -> str:
    """Return the text with what the machine answers now. Raises ValueError for a line that cannot be."""
    return "\n".join(_without_repeated_phases(_play(text, folder)[1])) + "\n"


def _play(text: str, folder: Path) -> tuple[Playbook | None, list[str]]:
    book: Playbook | None = None
    out: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        mark, _, rest = line.partition(" ")
        if mark in ("<<", "=="):
            continue
        out.append(line)
        try:
            if mark == "with":
                book = Playbook(settings_of(rest.split()))
            elif mark == "after":
                book, _ = _play((folder / f"{rest}.txt").read_text(), folder)
            elif mark in (">>", ".."):
                if book is None:
                    raise ValueError("a line `with ...` or `after ...` comes first")
                out += [f"<< {said}" for said in (book.hear if mark == ">>" else book.wait)(rest)]
            elif line and mark != "#":
                raise ValueError("a line begins with #, with, after, >>, .., << or ==")
        except (ValueError, KeyError) as error:
            raise ValueError("\n".join([*out[-20:], f"line {number}: {error}"])) from error
        if book is not None and mark in ("after", ">>", ".."):
            out.append(f"== {book.machine.phase}")
    return book, out


def _without_repeated_phases(lines: list[str]) -> list[str]:
    """The phase is told when it changes."""
    phase, out = "", []
    for line in lines:
        if line.startswith(("with ", "after ")):
            phase = ""
        if line.startswith("== ") and line == phase:
            continue
        phase = line if line.startswith("== ") else phase
        out.append(line)
    return out
