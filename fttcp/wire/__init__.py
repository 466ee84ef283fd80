"""Bytes <-> dataclasses: what travels between the nodes, identities, and the shared key."""
