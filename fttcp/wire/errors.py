"""The one error of this package."""

from __future__ import annotations


class WireError(ValueError):
    """Bytes from outside are not what they should be; the sentence says what is wrong and where."""
