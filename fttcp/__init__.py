"""Keeps TCP connections and UDP sessions to an unmodified server alive when its host dies."""

__version__ = "0.1.0"
