"""What a server is for those who look after it: run by us (Supervisor) or by somebody else (Watcher).

And what looks after it is for a group: Health, or, of resources, Resources.
"""

from __future__ import annotations

from typing import Any, Protocol

from fttcp.ownership.model import Role
from fttcp.server.settings import HealthSection, HooksSection, RestartSection


class ServerListener(Protocol):
    """Is told about the life of a group's servers, in the loop."""

    def server_started(self) -> None:
        """All processes run; whether they listen is another question."""

    def server_ended(self, reason: str) -> None:
        """A process is gone (or was stopped); told at once."""

    def server_down(self, reason: str, final: bool) -> None:
        """What is known about it by now; ``final``: nobody will start it again."""


class Server(Protocol):
    """The servers of one group."""

    ours: bool
    """Run by us, so that they can be ended and started."""

    @property
    def pids(self) -> list[int]:
        """The leading processes that run now."""

    @property
    def complete(self) -> bool:
        """True while all are there."""

    @property
    def restarts(self) -> int:
        """How often they were started again."""

    @property
    def gave_up(self) -> bool:
        """True if nobody will start them again without being asked."""

    def start(self, listener: ServerListener) -> None:
        """Begin."""

    def restart(self, failed: bool) -> bool:
        """Start afresh, if that is possible; ``failed``: because of a check. False if nothing is done."""

    def rest(self) -> None:
        """End what runs, and start nothing until it is woken."""

    def wake(self) -> None:
        """Start what rests."""

    def configure(self, settings: RestartSection) -> None:
        """Use other settings from now on; what runs is left alone."""

    def retry(self) -> None:
        """Try again what was given up."""

    def restore_record(self) -> bool:
        """Write again what outlives a kill of the daemon, if it is gone; say whether it was."""

    async def stop(self) -> None:
        """End, or stop watching."""


class Caretaker(Protocol):
    """Looks after what a group serves with on this node. See ``Health`` for what each does."""

    resting: bool
    """Nothing runs, and is not to: it would be started if this node were to serve."""

    @property
    def ours(self) -> bool: ...

    @property
    def healthy(self) -> bool: ...

    @property
    def pids(self) -> list[int]: ...

    @property
    def reason(self) -> str: ...

    @property
    def lacks(self) -> str: ...

    def shown(self) -> dict[str, Any]: ...

    def configure(
        self, settings: HealthSection, restart: RestartSection, hooks: HooksSection, hang_after_ms: int
    ) -> None: ...

    def start(self) -> None: ...

    def restart(self, failed: bool = False) -> None: ...

    def rest(self) -> None: ...

    def hold(self, why: str) -> None: ...

    def wake(self) -> None: ...

    def refuse(self, why: str) -> None: ...

    def role_changed(self, role: Role, epoch: int, cause: str) -> None: ...

    def restore_record(self) -> bool: ...

    async def stop(self) -> None: ...
