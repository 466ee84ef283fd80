"""A table of packets: what either node decides about one, by where their connection stands.

    # free text
    state open                             a connection begins anew, and is brought here ...
    -- client S 0:0(0) win 64240           ... by these acts, as in a story of packets
    | packet | primary | backup |          each row's packet comes to that state, and to no other row's
    | client . 1:1(0) ack 1 win 64240 | ...

The cells behind a packet are written anew; a test compares them with the text. What changes the protection
of a connection says so with an equal sign; an empty cell: that node knows nothing of the packet.
"""

from __future__ import annotations

from contextlib import ExitStack

from fttcp.explain.pair import BACKUP, PRIMARY
from tests.packet_story import INDENT, Stage

_HEAD = ["packet", PRIMARY, BACKUP]


def _cells(stage: Stage, packet: str) -> list[str]:
    """Give it to the nodes; return the row."""
    who, _, what = packet.partition(" ")
    found: dict[str, list[str]] = {PRIMARY: [], BACKUP: []}
    node = ""
    for line in stage.act(who, what):
        named, told = line[len(INDENT) :][:8].strip(), line[len(INDENT) + 9 :]
        node = named or node
        found[node].append(told.partition(" (drop_")[0])
    return [packet, *("; ".join(found[name]) for name in (PRIMARY, BACKUP))]


def _row(acts: list[str], packet: str) -> list[str]:
    with ExitStack() as ends:
        stage = Stage(ends)
        for act in acts:
            who, _, what = act.partition(" ")
            stage.act(who, what)
        return _cells(stage, packet)


def _drawn(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], rule, *lines[1:]]


def played(text: str) -> str:
    """Return the table with what is decided in it now. Raises ValueError for a line that cannot be."""
    out: list[str] = []
    acts: list[str] = []
    rows: list[list[str]] = []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if rows and not line.startswith("|"):
            out += _drawn([_HEAD, *rows])
            rows = []
        if line.startswith("state "):
            acts = []
        elif line.startswith("-- "):
            acts.append(line[3:])
        elif line.startswith("| "):
            packet = line.split("|")[1].strip()
            if packet == _HEAD[0]:
                continue
            try:
                rows.append(_row(acts, packet))
            except (ValueError, KeyError) as error:
                raise ValueError(f"line {number}: {error}") from error
            continue
        elif line.startswith("|-"):
            continue
        elif line and not line.startswith("#"):
            raise ValueError(f"line {number}: a line begins with #, state, -- or |")
        out.append(line)
    return "\n".join(out[:-1]) + "\n"
