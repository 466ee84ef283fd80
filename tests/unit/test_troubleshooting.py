"""The page for who asks why a pair is not in step has every word that `status` may give for it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

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


def test_every_reason_has_its_row() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    told = {word for row in rows for word in re.findall(r"`([a-z-]+)`", row)}
    assert {"peer-lost", "wrong-key", "mtu", "peer-younger"} <= words()
    assert words() <= told
