"""The moment of a planned act: one at which no protected connection's outputs differ, if one comes soon."""

from __future__ import annotations

import asyncio

from fttcp.group.group import GroupRuntime
from fttcp.ownership.model import Role
from fttcp.wire import clock

MOST_NS = 50_000_000
"""Servers that told another time at the turn of a second tell the same one a few milliseconds later."""
_LOOK_S = 0.002


async def good_moment(group: GroupRuntime) -> None:
    """Return when no connection that the backup follows would be reset for what the two servers said, or
    after MOST_NS: what still differs then does so for longer. Nothing tells of it, so it is looked for."""
    end_ns = clock.now_ns() + MOST_NS
    while _in_doubt(group) and clock.now_ns() < end_ns:
        await asyncio.sleep(_LOOK_S)


def _in_doubt(group: GroupRuntime) -> bool:
    machine = group.machine
    hands_over = machine.role is Role.PRIMARY and machine.in_step and not machine.paused
    return hands_over and not group.fenced and group.engine.status().flows_unverified > 0
