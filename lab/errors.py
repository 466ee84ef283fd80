"""The one error that the lab raises for things that its user can act on."""

from __future__ import annotations


class LabError(Exception):
    """Something in the lab could not be done; the text says what, where, and what to do."""
