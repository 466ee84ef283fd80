"""Does the commit channel carry anything? Heartbeats have a port of their own, and say nothing about it."""

from __future__ import annotations

from collections.abc import Mapping

from fttcp.group.readiness import Reason

LEAST = 20
"""Datagrams of which none was answered: what a primary tells or asks its backup, the backup answers."""
_DEAD = Reason(
    "channel",
    "the backup answers nothing on the commit channel: connections are not protected",
    "let UDP pass on the peer link, ports channel_port + 1 and those of further workers, in the firewalls of "
    "both nodes",
)


class ChannelWatch:
    """Compares what a primary in step has sent with what came back."""

    def __init__(self) -> None:
        self._sent = self._received = 0
        self._dead = False

    def look(self, paired: bool, counters: Mapping[str, int]) -> list[Reason]:
        """Return what is wrong now; to be asked every few seconds. ``paired``: a primary in step."""
        sent = counters.get("channel_datagrams_sent", 0)
        received = counters.get("channel_datagrams_received", 0)
        if not paired or received != self._received:
            self._sent, self._received, self._dead = sent, received, False
        elif sent - self._sent >= LEAST:
            self._dead = True
        return [_DEAD] if self._dead else []
