"""What `fttcp status` says of a server that is kept in step; docs/lockstep.md tells the fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lines(told: Mapping[str, Any]) -> list[str]:
    """Return it for people."""
    inside, outside, hidden, drawn = (told[name] for name in ("inside", "outside", "hidden", "drawn"))
    if drawn is None:
        return [f"NOT IN STEP  {told['file']} is gone: restart the daemon, then the server"]
    others = f" ({len(hidden)} of other users cannot be looked at)" if hidden else ""
    found = [
        f"lock step    in {len(inside)} processes{others}; {drawn['of_connections']} draws for connections, "
        f"{drawn['at_start']} before the first, {drawn['without']} for none"
    ]
    if outside or not (inside or hidden):
        which = ", ".join(map(str, outside)) or "any process"
        found.append(f"NOT IN STEP  the library is not in {which}: what it answers differs on the nodes")
    elif told["identities"] and not drawn["accepted"] and not drawn["of_connections"]:
        found.append(
            f"NOT IN STEP  {told['identities']} connections came, and the library has seen none: does a "
            "process of the server start others without its environment, or as another user?"
        )
    strangers = ", ".join(one["client"] for one in told["strangers"][:3])
    if drawn["unknown"]:
        found.append(f"NOT IN STEP  {drawn['unknown']} connections had no identity, the last: {strangers}")
    if drawn["outward"]:
        one = told["outward"][0]
        found.append(
            f"NOT PROTECTED  {drawn['outward']} connections to ports of `opens` did not come from a service "
            f"address, the last from {one['from']} to {one['to']}: have the server bind, or set opens_bind"
        )
    return found
