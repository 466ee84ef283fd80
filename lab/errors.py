"""The one error that the lab raises for things that its user can act on."""

from __future__ import annotations

import os


class LabError(Exception):
    """Something in the lab could not be done; the text says what, where, and what to do."""


def require_root(what: str = "the lab") -> None:
    """Raise LabError for whoever may not make hosts."""
    if os.geteuid() != 0:
        raise LabError(f"{what} makes network namespaces, so it needs root: run it with sudo")
