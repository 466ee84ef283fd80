"""Who may own a group: one interface (``base``), and its backends none, witness and etcd."""

from __future__ import annotations

from fttcp.arbiter.base import ArbiterClient
from fttcp.arbiter.reach import OnChange
from fttcp.arbiter.settings import NoneSettings, Settings, WitnessSettings


async def open_arbiter(
    settings: Settings, on_change: OnChange | None = None, watch: bool = True
) -> ArbiterClient:
    """Return this node's access to its arbiter; the backend's libraries are loaded only now.

    ``on_change`` is told when the arbiter begins or ceases to answer; with ``watch`` that is looked after
    also while nothing is asked. Raises ArbiterError or OSError.
    """
    if isinstance(settings, NoneSettings):
        from fttcp.arbiter.none import NetworkArbiter
        from fttcp.arbiter.probe import Prober

        return NetworkArbiter(settings, Prober(settings.interface), on_change)
    if isinstance(settings, WitnessSettings):
        from fttcp.arbiter.witness.client import WitnessClient

        return await WitnessClient(settings, on_change).open(watch)
    from fttcp.arbiter.etcd.client import EtcdClient

    return await EtcdClient(settings, on_change).open(watch)
