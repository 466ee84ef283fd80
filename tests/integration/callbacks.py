"""Experiments that the integration tests run inside the daemon."""

from __future__ import annotations

from fttcp.planes.experiment import Action, Delay, Direction, Drop, Modify, Packet, Pass


def drop_every_50th(packet: Packet) -> Action:
    """Lose 2 % of all packets, evenly."""
    return Pass() if packet.number % 50 else Drop()


def slow_replies(packet: Packet) -> Action:
    """Hold back every packet of the server's by 20 ms."""
    return Delay(0.02) if packet.direction is Direction.FROM_SERVER else Pass()


def secret(packet: Packet) -> Action:
    """Replace a word in what the server says."""
    if packet.direction is Direction.FROM_SERVER and b"secret" in packet.payload:
        return Modify(packet.with_payload(packet.payload.replace(b"secret", b"public")))
    return Pass()


def broken(packet: Packet) -> Action:
    """Fail at each packet."""
    raise RuntimeError("this experiment does not work")
