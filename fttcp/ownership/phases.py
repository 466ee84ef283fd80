"""The phases of the role machine as one table: from which one a node comes to which, and when.

``State`` asks it whenever a phase is entered. A step that is not in it is a fault of the rules, and fences
the group as any broken invariant does: that leads to ``fenced`` from everywhere, and is not listed.
docs/phases.md shows the table and draws it (``scripts/draw_phases.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

from fttcp.ownership.model import InvariantBroken, Phase

_DEMOTED = "another node owns the group with better right"
_DROPPED = "another node may have served: the flows are dropped"
_MUTE = "no link, no lease, or not known whether somebody else served"
_STOP = "the daemon stops"
_NOT_UP = "the server did not start in time, or another node may have served: the flows are dropped"
_COLD = "this node is to serve, and its server does not run (`standby`)"

TRANSITIONS: Mapping[Phase, Mapping[Phase, str]] = {
    Phase.LISTENING: {
        Phase.JOINING: "an owner is heard",
        Phase.SOLO: "nobody owns the group, and this node is the first in line; or it was left to it",
        Phase.PROMOTING: _COLD,
        Phase.STOPPED: _STOP,
    },
    Phase.JOINING: {
        Phase.LISTENING: "no owner is heard any more",
        Phase.FOLLOWING: "the owner offers a session",
        Phase.SOLO: "the owner leaves the group, and there are no flows",
        Phase.PROMOTING: _COLD,
        Phase.STOPPED: _STOP,
    },
    Phase.FOLLOWING: {
        Phase.SOLO: "takeover: the primary is lost, or hands over, or an operator wants it",
        Phase.PROMOTING: _COLD,
        Phase.JOINING: "the session is over; there is an owner",
        Phase.LISTENING: "the session is over; no owner is heard",
    },
    Phase.PROMOTING: {
        Phase.SOLO: "the server is up, and stands where clients stand",
        Phase.JOINING: _DEMOTED,
        Phase.LISTENING: _NOT_UP,
        Phase.STOPPED: _STOP,
    },
    Phase.SOLO: {
        Phase.PAIRING: "a fit backup waits",
        Phase.HANDOVER: "its server is down, and another node could serve, without the flows",
        Phase.SILENT: _MUTE,
        Phase.JOINING: _DEMOTED,
        Phase.LISTENING: _DROPPED,
        Phase.STOPPED: _STOP,
    },
    Phase.PAIRING: {
        Phase.PAIRED: "the backup follows, and the record names the pair",
        Phase.SOLO: "the backup is gone, or another one waits",
        Phase.SILENT: _MUTE,
        Phase.JOINING: _DEMOTED,
        Phase.LISTENING: _DROPPED,
        Phase.STOPPED: _STOP,
    },
    Phase.PAIRED: {
        Phase.SOLO: "the backup is lost, or has left",
        Phase.UNPAIRING: "the peer link is broken",
        Phase.HANDOVER: "its server or link fails, an operator wants it, or the daemon stops",
        Phase.SILENT: _MUTE,
        Phase.JOINING: _DEMOTED,
        Phase.LISTENING: _DROPPED,
        Phase.STOPPED: _STOP,
    },
    Phase.UNPAIRING: {
        Phase.SOLO: "the backup has dropped the session, or is lost",
        Phase.SILENT: _MUTE,
        Phase.JOINING: _DEMOTED,
        Phase.LISTENING: _DROPPED,
        Phase.STOPPED: _STOP,
    },
    Phase.HANDOVER: {
        Phase.JOINING: "the other node has taken the role",
        Phase.PAIRED: "the backup declined",
        Phase.SILENT: "the other node declined or left, or the arbiter does not hear it",
        Phase.LISTENING: _DROPPED,
        Phase.STOPPED: _STOP,
    },
    Phase.SILENT: {
        Phase.SOLO: "nobody else has served: the flows go on",
        Phase.HANDOVER: "no service link, and another node could serve, without the flows",
        Phase.JOINING: _DEMOTED,
        Phase.LISTENING: _DROPPED,
        Phase.STOPPED: _STOP,
    },
    Phase.STOPPED: {},
    Phase.FENCED: {},
}


def check(before: Phase, after: Phase) -> None:
    """Raise InvariantBroken unless the table leads from one phase to the other."""
    if after not in TRANSITIONS[before]:
        raise InvariantBroken(f"phase {before} cannot become {after}")
