"""Every word that `status` may give for why a pair is not in step is explained."""

from __future__ import annotations

import ast
from pathlib import Path

from fttcp.config.words import of_readiness
from fttcp.group.waiting import _STRANGE
from fttcp.ownership.model import Unfit

ROOT = Path(__file__).parents[2]


def words() -> set[str]:
    """First arguments of `Reason(...)` and `Want(...)` in the code, and those that stand in tables."""
    found = {why for why, _, _ in _STRANGE.values()} | {f"peer-{unfit.value}" for unfit in Unfit}
    for path in (ROOT / "fttcp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                is_word = isinstance(first, ast.Constant) and isinstance(first.value, str)
                if node.func.id in ("Reason", "Want") and is_word:
                    assert isinstance(first, ast.Constant)
                    found.add(str(first.value))
    return found


def test_every_reason_is_told() -> None:
    assert {"peer-lost", "wrong-key", "mtu", "peer-younger"} <= words()
    assert words() == of_readiness()["why"].keys()
