"""What a group waits for on this node, in sentences: made of what its role machine knows. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fttcp.group.hearing import Hearing
from fttcp.group.readiness import Hinders, Reason
from fttcp.group.shown import differs_shown
from fttcp.ownership.model import OWNING_PHASES, Phase, Role, Unfit
from fttcp.ownership.pair import PairMachine
from fttcp.ownership.terms import BINDING
from fttcp.ownership.versions import shown
from fttcp.ownership.view import Peer
from fttcp.planes.base import Engine, Intrusion

_STRANGE = {
    Intrusion.MAC: (
        "wrong-key",
        "heartbeats come that do not bear a key of this node",
        "give all nodes the same key file: compare `fttcp key show` on each",
    ),
    Intrusion.CLUSTER: (
        "wrong-cluster",
        "heartbeats come that bear the key, but are of another cluster",
        "node.cluster, the names of nodes and of groups must be the same in all files",
    ),
    Intrusion.VERSION: (
        "wrong-version",
        "heartbeats come in the form of another release",
        "run one release on all nodes: compare `fttcp --version`",
    ),
    Intrusion.REPLAY: (
        "wrong-place",
        "heartbeats come on another link than they were sent on, or out of time",
        "the links must be in the same order in all files",
    ),
    Intrusion.AT_PEER: (
        "wrong-place",
        "the other node met heartbeats that it could not take",
        "compare key file, cluster and links of both files",
    ),
}
_UNFIT = {
    Unfit.NOT_READY: (
        "lacks what it needs to follow",
        "see `fttcp status` there, hook ready_to_follow",
    ),
    Unfit.NO_MEMBER: (
        "may not be the backup: the arbiter's record of the nodes does not have it, or not yet",
        "`fttcp members` shows the record: name it in the other nodes' files, and reload",
    ),
    Unfit.DIFFERS: (
        "has other settings",
        "compare the files of both nodes: the reason `settings` says which keys",
    ),
    Unfit.YOUNGER: (
        "was not there when clients came to this one, or has had some of its own: their memories differ",
        "to protect connections again stop both daemons, then start both: their servers begin together",
    ),
}


def epochs_not_kept(why: str) -> list[Reason]:
    """Return what follows from numbers that cannot be stored, and why; '': they can."""
    what = f"no epoch can be stored in state_dir, so this node can take nothing over: {why}"
    todo = (
        "make room on the file system of node.state_dir, or let it be written; it is tried again each second"
    )
    return [Reason("epochs-not-kept", what, todo)] if why else []


def takeover_refused(why: str) -> list[Reason]:
    """Return what follows from a refusal of the arbiter; '': there is none."""
    what = f"this node may not own the group: {why}"
    todo = (
        "see to it that nobody else answers for the service address, and that the service network is reached"
    )
    return [Reason("takeover-refused", what, todo)] if why else []


FENCED = Reason(
    "fenced",
    "the engine failed, or a rule was broken: this node takes no part any more",
    "see its events, restart the daemon, and report it",
    Hinders.SERVICE,
)


def near(machine: PairMachine, engine: Engine, now_ns: int) -> list[str]:
    """Return the peers whose heartbeats come, of whichever groups they speak."""
    since_ns = now_ns - machine.settings.lease_ns
    return [peer.name for peer in machine.view.peers if engine.node_heard_ns(peer.index) > since_ns]


def waits(
    machine: PairMachine,
    hearing: Hearing,
    answers: bool | None,
    server: str,
    lacks: str,
    near: Sequence[str],
    now_ns: int,
) -> Iterator[Reason]:
    """Yield what keeps this node from serving the group, or from standing by. ``answers``: whether the
    arbiter does, as far as is known; ``server``: how the local server is, ``lacks``: what it lacks to
    follow; ``near``: peers that are heard, whether they speak of this group or not."""
    if machine.phase is Phase.STOPPED:
        return
    if machine.paused:
        todo = f"end it with `fttcp resume {machine.settings.group}`"
        yield Reason("paused", "the group is paused (maintenance)", todo)
    if (other := machine.hinders) is not None:
        what = f"this node is to serve, and starts nothing as long as resources run on {other.name}"
        todo = f"nothing, if it passes; else see on {other.name} which one does not stop (`fttcp status`)"
        yield Reason("peer-stops", what, todo, Hinders.SERVICE)
    elif machine.phase is Phase.PROMOTING:
        what = "this node is to serve: its server starts, and is told what clients have sent"
        todo = "nothing, if it passes; else see the server's log"
        yield Reason("promoting", what, todo, Hinders.SERVICE)
    yield from _own(machine, server, lacks)
    yield from _about_arbiter(machine, answers)
    if not machine.in_step:
        yield _partner(machine, hearing, near, now_ns)


def _own(machine: PairMachine, server: str, lacks: str) -> Iterator[Reason]:
    """What is wrong with this node itself."""
    view = machine.view
    if not view.carrier:
        yield Reason("carrier", "the service interface has no carrier", "check cable and switch port")
    if not view.reference:
        yield Reason(
            "reference",
            "this node reaches no reference address of the service network",
            "check switch and router, and what [reference] names",
        )
    if not view.healthy:
        yield Reason("server", f"the local server is not healthy: {server}", "see the server's log")
    if not view.ready and machine.role is not Role.PRIMARY:
        yield Reason(
            "follow",
            f"the local server lacks what it needs to follow: {lacks or 'not asked yet'}",
            "look at what the hook ready_to_follow looks at",
        )


def _about_arbiter(machine: PairMachine, answers: bool | None) -> Iterator[Reason]:
    if machine.arbitration.unheard:
        what = "the arbiter does not answer: until it does, this node cannot become or stay the owner alone"
    elif answers is False:
        what = "the arbiter does not answer: nobody could replace a lost node now"
    else:
        return
    yield Reason("arbiter", what, "check the arbiter and the way to it: `fttcp doctor --config FILE`")


def differences(machine: PairMachine) -> Iterator[Reason]:
    """In what this node and others that should be alike are not."""
    todo = "compare the files of both nodes, and `sysctl net.ipv4` where it is one of those"
    if machine.contested and machine.role is not Role.PRIMARY:
        yield Reason(
            "contested",
            "another node was heard that has another arbiter: this one takes nothing of its own accord",
            "set the same [arbiter] on all nodes, and restart the daemons of those that were wrong",
        )
    words = [f"{name}: {', '.join(keys)}" for name, keys in differs_shown(machine).items()]
    if any(machine.differs(peer) & BINDING for peer in machine.view.peers):
        yield Reason("settings", f"settings differ, so the pair does not form ({'; '.join(words)})", todo)
    elif words:
        yield Reason("settings-told", f"settings differ ({'; '.join(words)})", todo)


def _partner(machine: PairMachine, hearing: Hearing, near: Sequence[str], now_ns: int) -> Reason:
    """Why this node is not in step with another one: of several the one that is nearest to it."""
    owner = machine.view.owner()
    if machine.phase is Phase.JOINING and owner is not None:
        return _joining(machine, owner, hearing)
    peers = machine.view.named
    heard = [peer for peer in peers if peer.alive]
    if not heard:
        return _unheard(", ".join(peer.name for peer in peers), hearing, near, now_ns)
    for peer in heard:
        reason = _misunderstood(peer, hearing)
        if reason is not None:
            return reason
    if machine.phase is Phase.LISTENING:
        return Reason(
            "no-owner",
            "no node owns the group yet, and this one may not take it now",
            "nothing, if it passes; else see the other reasons, here and on the other node",
        )
    if machine.phase in OWNING_PHASES:
        return min((_follower(machine, peer, hearing) for peer in heard), key=lambda found: found[0])[1]
    return Reason(
        "in-between", f"this node is {machine.mode.value}, and goes on as soon as it may", "nothing"
    )


def _unheard(names: str, hearing: Hearing, near: Sequence[str], now_ns: int) -> Reason:
    if near:
        return Reason(
            "wrong-group",
            f"heartbeats of {', '.join(near)} come, but do not speak of this group",
            "is it in the files of both nodes, under the same name, and does it run there (`fttcp status`)?",
        )
    strange = hearing.strange(now_ns)
    if strange:
        why, what, todo = _STRANGE[min(strange, key=list(_STRANGE).index)]
        return Reason(why, f"{names} is not heard, but {what}", todo)
    return Reason(
        "peer-lost",
        f"no heartbeat of {names} comes in on any link",
        "does fttcp run there? does UDP to node.heartbeat_port pass? `fttcp topology` shows the links",
    )


def _misunderstood(peer: Peer, hearing: Hearing) -> Reason | None:
    error = hearing.error(peer.index)
    if error:
        return Reason("misunderstood", error, "make both files agree, then restart that daemon")
    return None


def _joining(machine: PairMachine, owner: Peer, hearing: Hearing) -> Reason:
    """This node has joined an owner, and is not in its pairing."""
    error = _misunderstood(owner, hearing)
    if error is not None:
        return error
    if machine.version(owner) is None:
        return _release(machine, owner, hearing)
    if machine.spare:
        return Reason("spare", f"{owner.name} has another backup: this node is a spare", "nothing")
    if not owner.peer_link:
        return _peer_link(owner.name)
    if not machine.view.mirror:
        what = f"no probe that {owner.name} sends the way of a client's packet has arrived here yet"
        return Reason("mirror-unknown", what, "nothing, if it passes; else see the reason `mirror`")
    return Reason(
        "pairing",
        f"waits for {owner.name}, which serves, to make it its backup",
        f"nothing, if it passes; else `fttcp status` on {owner.name} tells why not",
    )


def _peer_link(name: str) -> Reason:
    return Reason(
        "peer-link",
        f"heartbeats of {name} come, but the peer link (the first one) does not carry them both ways",
        "check its cable, its addresses, and the firewalls: mirror and commit channel go over it",
    )


def _release(machine: PairMachine, peer: Peer, hearing: Hearing) -> Reason:
    theirs = peer.said.speaks if peer.said is not None else (0, 0)
    release = hearing.releases.get(peer.name) or "?"
    return Reason(
        f"peer-{Unfit.RELEASE.value}",
        f"{peer.name} runs release {release}, whose commit channel speaks version {shown(theirs)}, and this "
        f"node's speaks {shown(machine.settings.speaks)}: nothing is protected",
        "install one release on both nodes; the page Upgrade tells in which order",
    )


def _follower(machine: PairMachine, peer: Peer, hearing: Hearing) -> tuple[int, Reason]:
    """Why an owner has no backup in this peer; how far that is from being one."""
    name, said = peer.name, peer.said
    if said is None or said.role is Role.STARTING:
        return 5, Reason(
            "peer-starting", f"{name} is starting, and has not joined yet", "nothing, if it passes"
        )
    if said.role is Role.PRIMARY:
        return 4, Reason(
            "two-owners", f"{name} calls itself the primary as well", "nothing: one of them yields"
        )
    if not said.healthy:
        return 3, Reason("peer-server", f"the server of {name} is not healthy", "see `fttcp status` there")
    if not peer.beats:
        return 2, _peer_link(name)
    if not peer.peer_link:
        what = f"no probe that this node sends the way of a client's packet has arrived at {name}"
        return 2, Reason("mirror-unknown", what, "nothing, if it passes; else see the reason `mirror`")
    unfit = machine.unfit(peer)
    if unfit is Unfit.RELEASE:
        return 1, _release(machine, peer, hearing)
    if unfit is not None:
        what, todo = _UNFIT[unfit]
        who = name if unfit is Unfit.NO_MEMBER else f"the server of {name}"
        return 1, Reason(f"peer-{unfit.value}", f"{who} {what}", todo)
    return 0, Reason("pairing", f"{name} is about to become the backup", "nothing, if it passes")
