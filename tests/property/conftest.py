"""Examples have no deadline: what a machine does at the same time says nothing about a property."""

from hypothesis import settings

settings.register_profile("fttcp", deadline=None)
settings.load_profile("fttcp")
