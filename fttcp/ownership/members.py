"""Which nodes a cluster has: one record at the arbiter, beside those of its groups. Pure.

Each node tells there whom its file names. A node belongs to the cluster while one that does names it; what
nobody names any more is taken out by the next one that tells, and may own nothing. Each has a *place*, which
stays as long as it belongs: epochs are drawn by it, so no two nodes ever draw the same.

*Alone.* Two nodes that name each other and nobody else may leave a group to each other while the arbiter is
away. So they must be sure that it gives the group to nobody else meanwhile. When the second one of them
tells, no third one stands in a record of a group, and both count as ``alone``. From then on a third one may
own nothing until *both* have told that they leave nothing to each other any more (``apart``), and what they
granted is over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

MOST_NODES = 8
"""Nodes of a cluster: epochs and links of a body have so many places."""


class MembersError(Exception):
    """What a node wants to tell cannot stand; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Members:
    """The record. ``names`` by places, '' where there is nobody. ``named``: by places as well, a bit for the
    place of each node that this one's file names; 0: it has never told. ``version`` grows with each change;
    0: nobody has told anything yet. ``alone``: a bit for the place of each node that may leave a group to the
    one that it names, arbiter or not."""

    version: int = 0
    names: tuple[str, ...] = ()
    named: tuple[int, ...] = ()
    alone: int = 0

    def place(self, name: str) -> int | None:
        """Return the place of a node, or None."""
        return self.names.index(name) if name and name in self.names else None

    def named_by(self, name: str) -> frozenset[str]:
        """Return whom this node names."""
        place = self.place(name)
        bits = 0 if place is None else self.named[place]
        return frozenset(other for i, other in enumerate(self.names) if other and bits >> i & 1)

    def namers(self, name: str) -> list[str]:
        """Return who names this node."""
        return [other for other in self.names if other and name in self.named_by(other)]

    def leaves_to(self, name: str) -> frozenset[str]:
        """Return to whom this node may leave a group while the arbiter is away: to one, or nobody."""
        place, named = self.place(name), self.named_by(name)
        mutual = len(named) == 1 and self.named_by(*named) == {name}
        return named if mutual and place is not None and self.alone >> place & 1 else frozenset()

    def ends(self, name: str) -> bool:
        """True if this node counts as alone with one that names others by now: it has to tell anew, apart."""
        place = self.place(name)
        return place is not None and bool(self.alone >> place & 1) and not self.leaves_to(name)

    def refusal(self, name: str) -> str:
        """Return why this node may own nothing, for people, or ''."""
        if self.version == 0:
            return ""
        if self.named_by(name):
            for i, other in enumerate(self.names):
                if self.alone >> i & 1 and other != name and name not in self.named_by(other):
                    return (
                        f"{other} may not know yet that there is a third node: it has to reach the arbiter; "
                        f"if it is dead for good: `fttcp members --forget {other}`"
                    )
            return ""
        if self.place(name) is None:
            return f"{name} is no member of the cluster: no member's file names it"
        return f"{name} has not told the arbiter yet whom its file names"

    def tell(
        self, by: str, peers: Sequence[str], apart: bool = True, owners: Collection[str] = ()
    ) -> Members:
        """Return the record after ``by`` has told whom its file names. ``apart``: it leaves nothing to
        anybody, and what it granted is over. ``owners``: who stands in records of groups. Raises
        MembersError."""
        others = [name for name in self.names if name not in ("", by) and self.named_by(name)]
        if others and not self.namers(by):
            raise MembersError(
                f"{by} is no member of the cluster, and no member's file names it ({', '.join(others)} "
                f"do not): add {by} as [[peer]] there, and reload"
            )
        names = list(self.names)
        for name in sorted({by, *peers}.difference(names)):
            _take_place(names, name)
        if len(names) > MOST_NODES:
            raise MembersError(
                f"the cluster would have more than {MOST_NODES} nodes: "
                f"{', '.join(filter(None, names))}; take one out of all files first"
            )
        named = [*self.named, *(0 for _ in names[len(self.named) :])]
        named[names.index(by)] = sum(1 << names.index(peer) for peer in peers)
        here = 1 << names.index(by)
        alone = self.alone & ~here if apart else self.alone
        record = Members(self.version + 1, tuple(names), tuple(named), alone)._with_those_of(by, owners)
        for other in record.named_by(by):
            mutual = record.named_by(by) == {other} and record.named_by(other) == {by}
            if mutual and not set(owners) - {by, other}:
                record = replace(record, alone=record.alone | here | 1 << names.index(other))
        return record

    def forget(self, name: str, by: str, owners: Collection[str] = ()) -> Members:
        """Return the record without what a dead node told, and without whom, then, the file of ``by`` does
        not name any more, directly or not. Raises MembersError."""
        place = self.place(name)
        if place is None:
            known = ", ".join(filter(None, self.names))
            raise MembersError(f"{name} is no member of the cluster (members: {known or 'none'})")
        if name in owners:
            raise MembersError(_stands(name))
        named = tuple(0 if i == place else bits for i, bits in enumerate(self.named))
        record = replace(self, version=self.version + 1, named=named, alone=self.alone & ~(1 << place))
        if by != name and record.named_by(by):
            return record._with_those_of(by, owners)
        return record if record.namers(name) else record._without(name)

    def _without(self, name: str) -> Members:
        """Leave out a node that nobody names any more, and what it told."""
        place = self.names.index(name)
        names = tuple("" if other == name else other for other in self.names)
        named = tuple(bits if other else 0 for other, bits in zip(names, self.named, strict=True))
        return replace(self, names=names, named=named, alone=self.alone & ~(1 << place))

    def _with_those_of(self, by: str, owners: Collection[str]) -> Members:
        """Leave out whom ``by`` does not name, nor anybody does whom it names, and so on."""
        kept, found = {by}, [by]
        while found:
            new = self.named_by(found.pop()) - kept
            kept |= new
            found += new
        gone = [name for name in self.names if name and name not in kept]
        for name in gone:
            if name in owners:
                raise MembersError(_stands(name))
        record = self
        for name in gone:
            record = record._without(name)
        return record


def _take_place(names: list[str], name: str) -> None:
    if "" in names:
        names[names.index("")] = name
    else:
        names.append(name)


def _stands(name: str) -> str:
    return (
        f"{name} cannot be taken out: it serves a group or is its backup, as the arbiter's record says: let "
        "others do that (`fttcp switchover`), and stop the daemon there"
    )
