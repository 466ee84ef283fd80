"""Whole stories: all nodes of a group, from an act to its end, as a text that people read.

    # free text
    nodes alpha beta arbiter=none     no daemon runs yet; with `in step` behind it they are paired
    -- boot alpha                     something is done to the world
    -- run 2s                         time passes
          0.0 ms  alpha >> Started    what alpha's machine was told
                  alpha << Publish    and what it wanted done

It is the simulator's world (tests/sim) without chance: nothing is lost, and all takes its time. Acts
are played, and the lines that are indented are written anew; a test compares that with the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import NS_PER_MS, Settings
from fttcp.ownership.pair import PairMachine
from tests.sim.world import NAMES, SECOND, World
from tests.telling import Telling, span_ns

_QUIET = ev.DeadlineReached | ev.LeaseSeen
"""The clock's own events: what follows from them is told, they are not."""


class Calm:
    """In the place of chance."""

    def __init__(self) -> None:
        self._boots = 0

    def random(self) -> float:
        return 0.5

    def randrange(self, start: int, stop: int | None = None) -> int:
        if stop == 2**63:  # a boot's number
            self._boots += 1
            return self._boots
        return 0 if stop is None else start

    def choice(self, among: Sequence[Any]) -> Any:
        return among[0]


class Stage(World):
    """A world that writes down what its machines are told and want."""

    def __init__(self, nodes: int, arbitrated: bool) -> None:
        self.lines: list[str] = []
        self._told: dict[str, Telling] = {}
        stage = self

        class Told(PairMachine):
            def __init__(self, settings: Settings, now_ns: int) -> None:
                super().__init__(settings, now_ns)
                stage._told[settings.name] = Telling(settings.name, settings.peers)

            def step(self, event: ev.Event, now_ns: int) -> list[do.Command]:
                pending = self.arbitration._pending
                heard = not isinstance(event, _QUIET)
                if isinstance(event, ev.ArbiterAnswered):  # simulated clients give up after each request
                    heard = pending is not None and pending.number == event.request
                commands = super().step(event, now_ns)
                stage.tell(self.settings.name, event if heard else None, commands, now_ns)
                return commands

        super().__init__(0, nodes, arbitrated, Told)
        self.random = Calm()  # type: ignore[assignment]
        self.loss = self.halt_chance = 0.0
        self.now = SECOND
        for host in self.hosts.values():
            host.rate, host.offset = 1.0, 0
        self._shown, self._begun = "", SECOND

    def pair(self) -> None:
        """Begin when all is well."""
        for host in self.hosts.values():
            host.boot()
            self.run(self.now + SECOND)
        assert sum(host.machine.in_step for host in self.hosts.values()) == 2
        self._begun = self.now

    def tell(self, name: str, event: ev.Event | None, commands: list[do.Command], now_ns: int) -> None:
        telling = self._told[name]
        told = telling.told(event, now_ns) if event is not None else ""
        repeated = isinstance(event, ev.PeerStated) and "=" not in told and not commands
        if told and not repeated:
            self._line(name, ">>", told)
        for command in commands:
            self._line(name, "<<", telling.told(command, now_ns))

    def _line(self, name: str, mark: str, what: str) -> None:
        when = f"{(self.now - self._begun) / NS_PER_MS:.1f} ms"
        self.lines.append(f"{when if when != self._shown else '':>12}  {name:<5} {mark} {what}".rstrip())
        self._shown = when

    def act(self, words: list[str]) -> list[str]:
        """Do what a line says; return what followed from it. Raises ValueError, KeyError."""
        self.lines, self._shown = [], ""
        if words[0] == "run":
            self.run(self.now + span_ns(words[1]))
        else:
            _ACTS[words[0]](self, words[1])
        return self.lines


_ACTS: dict[str, Callable[[Stage, str], object]] = {
    "boot": lambda stage, name: stage.hosts[name].boot(),
    "crash": lambda stage, name: stage.hosts[name].crash(),
    "kill-server": lambda stage, name: stage.hosts[name].kill_server(),
    "switchover": lambda stage, name: stage.hosts[name].feed(ev.SwitchoverRequested(1)),
}


def played(text: str) -> str:
    """Return the story with what happens in it now. Raises ValueError for a line that cannot be."""
    stage: Stage | None = None
    out: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(" "):
            continue
        out.append(line)
        mark, *words = line.split() or [""]
        try:
            if mark == "nodes":
                in_step = words[-2:] == ["in", "step"]
                *names, arbiter = words[:-2] if in_step else words
                if names != list(NAMES[: len(names)]):
                    raise ValueError(f"the nodes are {', '.join(NAMES)}, in this order")
                stage = Stage(len(names), {"arbiter=none": False, "arbiter=witness": True}[arbiter])
                if in_step:
                    stage.pair()
            elif mark == "--":
                if stage is None:
                    raise ValueError("the line `nodes ...` comes first")
                out += stage.act(words)
            elif mark not in ("", "#"):
                raise ValueError("a line begins with #, nodes, -- or blanks")
        except (ValueError, KeyError) as error:
            raise ValueError(f"line {number}: {error}") from error
    return "\n".join(out) + "\n"
