"""Texts that are checked in and compared with what happens now."""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path

import pytest


def compare(path: Path, anew: Callable[[str], str]) -> None:
    """Fail with the difference unless ``anew`` makes of the text what it is.

    With ``FTTCP_TRANSCRIPTS=write`` the text is replaced: look at the difference before you commit it.
    """
    text = path.read_text()
    now = anew(text)
    if os.environ.get("FTTCP_TRANSCRIPTS") == "write":
        path.write_text(now)
    elif now != text:
        lines = unified_diff(
            text.splitlines(), now.splitlines(), "as it is told", "as it is", n=6, lineterm=""
        )
        pytest.fail(f"{path.name} (FTTCP_TRANSCRIPTS=write replaces it):\n" + "\n".join(lines), pytrace=False)
