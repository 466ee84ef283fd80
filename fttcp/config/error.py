"""The one error of this package."""

from __future__ import annotations


class ConfigError(Exception):
    """The file will not serve; ``errors`` holds one sentence for each thing that is wrong."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors
