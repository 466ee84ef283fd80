"""Which of a node's adapters the service addresses are at: pure.

All adapters are on the same network, so what is seen over one tells what fails when another is silent: the
adapter, if others still reach the reference address; else the network, and then it stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Sight:
    """What is seen over one adapter. Where no reference address is asked, all of it is as if one answered."""

    carrier: bool = False
    reference: bool = True
    """A reference address is reached over it, by the thresholds."""
    answered: bool = True
    """... and was, when it was asked last."""

    @property
    def works(self) -> bool:
        """True unless something speaks against it."""
        return self.carrier and self.reference


class Adapters:
    """The adapters of a node, in the order in which they are to be used, and the one that is."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.sights = {name: Sight() for name in names}
        self.used = self.names[0]

    @property
    def sight(self) -> Sight:
        """Of the one that is used."""
        return self.sights[self.used]

    def begin(self) -> None:
        """Use the first that has a carrier; if none has, the first."""
        self.used = next((name for name in self.names if self.sights[name].carrier), self.names[0])

    def choose(self) -> str:
        """Return why another one is used from now on, for people; '' if none is. The one that is used stays
        as long as it works: an adapter that is well again is not returned to. Nor is it left for one that has
        no more to offer."""
        now = self.sight
        if now.works:
            return ""
        better = next(self._better(now), None)
        if better is None:
            return ""
        why = "no reference address answers there" if now.carrier else "no carrier there"
        self.used = better
        return why

    def _better(self, now: Sight) -> Iterator[str]:
        at = self.names.index(self.used)
        others = [*self.names[at + 1 :], *self.names[:at]]
        yield from (name for name in others if self.sights[name].works and self.sights[name].answered)
        if not now.carrier:
            yield from (name for name in others if self.sights[name].carrier)

    def order(self, name: str) -> str:
        """Use this one from now on; return why not, '' if it is done."""
        if name not in self.names:
            return f"{name} is no adapter of this node ({', '.join(self.names)})"
        if not self.sights[name].carrier:
            return f"{name} has no carrier"
        if self.sight.works and not self.sights[name].works:
            return f"no reference address answers over {name}, but over {self.used}"
        self.used = name
        return ""
