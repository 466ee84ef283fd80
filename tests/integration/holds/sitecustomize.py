"""Loaded by Python when this directory is in PYTHONPATH: holds a node's daemon at one of its steps.

The daemon's working directory has a file `hold` with the name of a step: that of an event, which the core has
not seen then, or of an order, which is not carried out yet. The daemon (not its beat thread) stands still
there, once, until the file is gone; `held` tells that it does.
"""

import sys
import time
from pathlib import Path
from typing import Any

HOLD, HELD = Path("hold"), Path("held")


def stand_still_at(step: str) -> None:
    """Return when the step is not, or no more, the one to stand still at."""
    try:
        wanted = HOLD.read_text()
    except FileNotFoundError:
        return
    if wanted == step and not HELD.exists():
        HELD.write_text(step)
        while HOLD.exists():
            time.sleep(0.0005)


def hold_steps() -> None:
    """Let every event and every order of all groups pass by the file."""
    from fttcp.group.group import GroupRuntime
    from fttcp.group.orders import Orders
    from fttcp.ownership import commands as do

    step, carry_out = GroupRuntime._step, Orders.carry_out

    def held_step(group: GroupRuntime, event: Any) -> Any:
        stand_still_at(type(event).__name__)
        return step(group, event)

    def held_order(orders: Orders, command: Any) -> None:
        detail = ""
        if isinstance(command, do.SetLease):
            detail = f" {command.policy.name}"
        elif isinstance(command, do.SetMode):
            detail = f" {command.mode.name}"
        stand_still_at(type(command).__name__ + detail)
        carry_out(orders, command)

    GroupRuntime._step, Orders.carry_out = held_step, held_order  # type: ignore[method-assign]


if sys.orig_argv[1].endswith("/fttcp") and sys.orig_argv[2] == "node":
    try:
        hold_steps()
    except (ImportError, AttributeError) as error:  # Python would go on without the holds
        sys.exit(f"no step can be held: {error!r}")
