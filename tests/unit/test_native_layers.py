"""No native file needs, by include or call, directly or not, one that needs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
DEFINITION = re.compile(r"^(?!static|typedef|EXPORT)\w[\w \t*]*?\b(\w+)\([^;{}]*\)\n\{", re.MULTILINE)
PROGRAMS = ("shim", "calls", "client", "link", "replay", "bpf")
"""Parts that are programs, or a library, by themselves."""
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def includes() -> dict[str, set[str]]:
    """Return what each header includes, of ours, by its path in native/. Programs name those beside them."""
    files = {
        str(path.relative_to(NATIVE)): path
        for part in ("core", "engine", *PROGRAMS)
        for path in (NATIVE / part).rglob("*.h")
    }

    def known(beside: str, name: str) -> str:
        return name if name in files else f"{beside}/{name}"

    return {
        name: {known(str(Path(name).parent), one) for one in INCLUDE.findall(path.read_text())} & files.keys()
        for name, path in files.items()
    }


def calls(part: str = "engine") -> dict[str, set[str]]:
    """Return from which files each C file of a part takes functions.

    A function of the C library is that, even where the shim stands in for it.
    """
    texts = {path.name: COMMENT.sub("", path.read_text()) for path in (NATIVE / part).rglob("*.c")}
    home = {name: file for file, text in texts.items() for name in DEFINITION.findall(text)}
    used = {file: set(re.findall(r"(?<!struct )\b[a-z]\w+", text)) for file, text in texts.items()}
    return {file: {home[one] for one in names if home.get(one, file) != file} for file, names in used.items()}


def calls_of_programs() -> dict[str, set[str]]:
    """Return those of all programs, by their paths in native/."""
    return {
        f"{part}/{file}": {f"{part}/{one}" for one in needs}
        for part in PROGRAMS
        for file, needs in calls(part).items()
    }


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the files of one circle, the first one at both ends; nothing if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("graph", [includes, calls, calls_of_programs])
def test_there_is_no_circle(graph: Callable[[], dict[str, set[str]]]) -> None:
    found = circle(graph())
    assert not found, " needs ".join(reversed(found))


def test_what_is_looked_at_is_there() -> None:
    """Else a changed style of definitions would hide all of them."""
    graph = calls()
    assert includes()["core/tcp/flow.h"]
    assert {"role.c", "hold.c", "act.c"} <= graph["tcp.c"] and graph["channel.c"] == set()
    assert circle({**graph, "channel.c": {"worker.c"}})
    programs = calls_of_programs()
    assert {"shim/turns.c", "shim/slots.c", "shim/records.c"} <= programs["shim/who.c"]
    assert programs["client/main.c"] == {"client/measure.c", "client/server.c"}
    assert includes()["shim/next.h"] == set() and includes()["client/ramp.h"] == set()


def test_the_core_needs_nothing_of_the_engine() -> None:
    core = {name: needs for name, needs in includes().items() if name.startswith("core/")}
    assert len(core) > 20
    assert not {
        name: needs for name, needs in core.items() if any(not one.startswith("core/") for one in needs)
    }


BESIDE_FLOWS = {
    "engine/worker.h": None,  # whose flows they are
    "engine/engine.h": {"udp.h"},
    "engine/api/abi.h": {"keyed.h"},
    "engine/planes/plane.h": {"table.h", "udp.h"},
    "engine/calls/drain.h": {"calls.h"},
    "engine/calls/feed.h": {"calls.h"},
    "engine/shared_file.h": {"lockstep.c"},
    "engine/history/file.h": {"filed.c", "kept.c"},
    "engine/spool/spool.h": {"spill.h"},
    "engine/stored/replies.h": {"stored.h"},
}
"""What flows include beside the core and each other, and which files do; None: any."""


def test_flows_include_what_is_listed() -> None:
    found: dict[str, set[str]] = {}
    for path in (NATIVE / "engine" / "flows").iterdir():
        for name in INCLUDE.findall(path.read_text()):
            if not name.startswith(("core/", "engine/flows/")):
                found.setdefault(name, set()).add(path.name)
    assert found.keys() == BESIDE_FLOWS.keys()
    assert all(who is None or found[name] == who for name, who in BESIDE_FLOWS.items())


def test_flows_know_no_data_plane_but_its_face() -> None:
    """What decides and carries out sees planes/plane.h; the engine chooses one."""
    chooser = {"engine/engine.c"}
    outside = {
        str(path.relative_to(NATIVE)): INCLUDE.findall(path.read_text())
        for path in (NATIVE / "engine").rglob("*.[ch]")
        if "planes" not in path.parts
    }
    assert "engine/planes/plane.h" in outside["engine/worker.h"]
    assert not {
        name: found
        for name, needs in outside.items()
        if (found := [one for one in needs if "/planes/" in one and not one.endswith("/plane.h")])
        and name not in chooser
    }


def test_flows_know_nothing_of_liveness() -> None:
    """A datagram that is none of records goes to whom the worker says (struct ftt_worker, odd)."""
    files = [path for part in ("flows", "channel") for path in (NATIVE / "engine" / part).rglob("*.[ch]")]
    assert len(files) > 40
    needs = {path.name: INCLUDE.findall(path.read_text()) for path in files}
    assert not {name: found for name, found in needs.items() if any("/liveness/" in one for one in found)}


STATES = {
    "ftt_flow": r"flow\.",
    "ftt_session": r"s\.",
    "ftt_retained": r"retained\.",
    "ftt_digest": r"digest\.",
    "ftt_lease": r"lease\.",
    "ftt_log": r"(?<!\bu->)log->",
}
"""What the core keeps of a flow or a node, and what the engine's structs call it; u->log is a session's."""
MEMORY = {"bytes", "size", "len", "syn_len", "spooled", "later", "renewal"}
"""Of a log: its memory is the caller's, which has what is decided elsewhere; see core/log.h."""
ASSIGNS = r"\s*(?:(?:[-+|&^]|<<|>>)?=(?!=)|\+\+|--)"


def writes(text: str) -> list[str]:
    """Return the lines that assign to what the core keeps, whatever they call it."""
    found = []
    for kind, member in STATES.items():
        names = "|".join(re.findall(rf"struct {kind} \*(\w+)", text)) or "(?!)"
        place = rf"[][\w.>()*-]+->{member}"
        path = rf"(?:{place}|(?<![\w.>])(?:{names})->)(?P<field>\w+)"
        assigned = re.compile(rf"{path}(?:[\w.]|->)*(?:\[[^]]*\])?{ASSIGNS}|(?:\+\+|--)(?P<counted>{place})")
        stem = place.removesuffix("\\.")
        whole = re.compile(rf"mem(?:set|cpy|move)\((?:&{stem}|{names}),|\b{stem} = |^\s*\*(?:{names}) = ")
        for line in text.splitlines():
            hit = assigned.search(line)
            field = hit and not (kind == "ftt_log" and hit["field"] in MEMORY)
            if field or (kind in ("ftt_flow", "ftt_session") and whole.search(line)):
                found.append(line.strip())
    return found


def test_only_the_core_writes_a_flow() -> None:
    """Else decisions are taken where they are carried out."""
    places = [path for part in ("engine", "replay") for path in (NATIVE / part).rglob("*.[ch]")]
    assert len(places) > 100
    found = [f"{path.name}: {line}" for path in places for line in writes(COMMENT.sub("", path.read_text()))]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "c->flow.protection = 4;",
        "f->bits |= 1;",
        "r->c->flow.hard.irs++;",
        "u->s.acked -= 1;",
        "++u->s.acked;",
        "d->crc = 1;",
        "c->digest.broken = true;",
        "c->retained.next += len;",
        "b->lease.worth_ns = 5;",
        "c->log->last = 0;",
        "own->flow.bits |= 1;",
        "heard->s.acked++;",
        "--at[i]->flow.tries;",
        "(*at)->digest.crc = 1;",
        "*own->flow = other;",
        "memset(&found->s, 0, sizeof(found->s));",
        "c->flow = other;",
        "memset(&c->flow, 0, sizeof(c->flow));",
        "*f = other;",
    ],
)
def test_what_writes_a_flow_is_seen(line: str) -> None:
    pointers = "struct ftt_flow *f = 0; struct ftt_digest *d = 0;\n"
    assert writes(pointers + line) == [line]


@pytest.mark.parametrize(
    "line",
    [
        "if (c->flow.protection == 4)",
        "u = f->bits & 1;",
        "x(&c->flow);",
        "u->s.told <= 3;",
        "n[u->s.reason]++;",
        "c->log->renewal = r;",
        "struct ftt_flow then = *f;",
    ],
)
def test_what_only_reads_is_not(line: str) -> None:
    assert writes("struct ftt_flow *f = 0;\n" + line) == []


def test_the_lease_is_asked_in_few_places() -> None:
    """All that leaves for a client passes the gate of the core, which knows the lease by struct ftt_env."""
    asks = {
        path.name
        for path in (NATIVE / "engine").rglob("*.[ch]")
        if "ftt_may_emit(" in COMMENT.sub("", path.read_text())
    }
    planes = {"nfq.c", "python.c", "emit.c"}  # once more as packets leave
    assert asks == planes | {"engine.h", "worker.h", "engine.c", "neigh.h"}
