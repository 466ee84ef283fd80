"""What a group tells the other nodes with each heartbeat: its role machine's word, and what is beside it."""

from __future__ import annotations

from collections.abc import Callable

from fttcp.ownership.model import Body
from fttcp.planes.base import Engine
from fttcp.wire import body as codec
from fttcp.wire.keyfile import KeyRing, key_id


class Saying:
    """The heartbeats' body of one group on one node."""

    def __init__(
        self,
        engine: Engine,
        keys: KeyRing | None,
        mac: Callable[[], bytes],
        probe: Callable[[], int],
        clock: Callable[[], codec.ClockWord | None],
    ) -> None:
        """``mac``: of the service interface; ``probe``: the number of the last probes of the mirror;
        ``clock``: what there is to say of the node's clocks."""
        self._engine, self.keys, self._mac, self._probe, self._clock = engine, keys, mac, probe, clock
        self._key_ids = _names(keys)
        self.service_mac = b""
        """Of the group; b'': that of the interface."""
        self.adapters: tuple[codec.AdapterWord, ...] = ()
        """Of the node."""
        self.stored_behind = False
        """The backup has not stored all replies that this primary has."""
        self.leads = False
        """This node's server leads, and all its calls are known."""
        self._said: Body | None = None
        self._granted = 0
        self.closed = False

    def say(self, body: Body, granted: int) -> None:
        """Say this from now on, with a grant to each peer whose bit is set."""
        self._said, self._granted = body, granted
        self.again()

    def again(self) -> None:
        """Something beside the body has changed."""
        if self._said is not None and not self.closed:
            aside = codec.Aside(
                *(self.key_ids(), self._mac(), self.service_mac, self._probe(), self._clock(), self.adapters),
                *(self.stored_behind, self.leads),
            )
            self._engine.publish(codec.encode(self._said, aside), self._granted)

    def use_keys(self, keys: KeyRing) -> None:
        """Believe other keys from now on, and tell the peers which."""
        self.keys, self._key_ids = keys, _names(keys)
        self._engine.set_keys(keys)
        self.again()

    def key_ids(self) -> tuple[str, ...]:
        """Names of the keys, the one that is sent with first."""
        return self._key_ids


def _names(keys: KeyRing | None) -> tuple[str, ...]:
    return () if keys is None else tuple(map(key_id, keys.sending_first))
