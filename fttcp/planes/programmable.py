"""The programmable engine: packets through NetfilterQueue into Python, for experiments and comparison.

Theory of operation. It is the C engine with another data plane (native/engine/planes/python): its worker
asks this module for packets, and tells it what becomes of each. Every packet and record may first be shown to
an experiment of the user's; see fttcp.planes.experiment. The worker's thread calls `take`, `give`, `hear` and
`tell`, so what they see stands still meanwhile.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from fttcp._native import ffi, lib
from fttcp.ownership.model import EngineMode, Lease
from fttcp.planes.base import EngineEvent, EngineSettings
from fttcp.planes.error import EngineError
from fttcp.planes.experiment import Callback, Change, Direction, hooks_of, load_callback
from fttcp.planes.intake import Intake
from fttcp.planes.liveness import Liveness
from fttcp.planes.nfqueue import NfqueueEngine
from fttcp.planes.queues import LANES, Queue, check_mtu

_ROUNDS = 64
"""For which packets that an experiment loses or delays keep the worker from its other work."""
_OWN_COUNTERS = (
    "callback_calls", "callback_errors", "callback_dropped", "callback_delayed", "callback_modified",
)  # fmt: skip

log = logging.getLogger(__name__)


class ProgrammableEngine(NfqueueEngine):
    """Implements Engine."""

    def __init__(
        self, settings: EngineSettings, liveness: Liveness | None = None, callback: Callback | None = None
    ) -> None:
        """Open queues, channel and sockets; nothing runs yet. The experiment is ``callback``, or the one that
        the settings name as ``callback``, if they do. Raises EngineError."""
        if callback is None and settings.callback is not None:
            callback = load_callback(settings.callback)
        if settings.workers != 1:
            raise EngineError(f"workers: {settings.workers} is not 1, which the programmable engine needs")
        check_mtu(settings)
        self.n: Counter[str] = Counter()
        self._giving = threading.Lock()
        self._failure: Exception | None = None
        self._experiment = hooks_of(callback)
        self._mode = EngineMode.IDLE
        self.intake = Intake(settings, self._experiment, self.n, self._flow_info)
        self._queues = [
            Queue(first + offset, direction, self.intake.arrived, self.n)
            for offset in LANES
            for first, direction in (
                (settings.queue_in, Direction.FROM_CLIENT),
                (settings.queue_out, Direction.FROM_SERVER),
            )
        ]
        self._lanes = (self._queues[:2], self._queues[2:])
        self._self = ffi.new_handle(self)
        try:
            for queue in self._queues:
                queue.open(settings.queue_maxlen)
            super().__init__(settings, liveness, self._hooks())
        except EngineError:
            self._close_queues()
            raise
        self._worker_of = self._engine

    def _hooks(self) -> Any:
        hooks = ffi.new("struct ftt_hooks *")
        for lane, queues in enumerate(self._lanes):
            for i, queue in enumerate(queues):
                hooks.fd[lane][i] = queue.fileno()
        set_hooks(hooks, self._self)
        return hooks

    def close(self) -> None:
        """End the worker, give the queues up (the rules then drop everything)."""
        super().close()
        self._close_queues()

    def _close_queues(self) -> None:
        for queue in self._queues:
            queue.close()
        self.intake.clear()

    def set_mode(self, mode: EngineMode, session: int, peer: int) -> None:
        """See abi.h. What was decided in the role of before has left, or is dropped, when it returns."""
        super().set_mode(mode, session, peer)
        with self._giving:
            self._mode = mode
        self.intake.role_begins()
        self._show(Change(lib.ftt_now_ns(), mode=mode))

    def set_lease(self, policy: Lease, limit_ns: int | None, decided_ns: int) -> None:
        """See abi.h. What the lease of before let go has left, or is dropped, when it returns: the
        interpreter may be another thread's for longer than a peer needs to take over."""
        super().set_lease(policy, limit_ns, decided_ns)
        with self._giving:
            pass
        self._show(Change(lib.ftt_now_ns(), lease=policy))

    def events(self) -> Sequence[EngineEvent]:
        """See NfqueueEngine."""
        events = super().events()
        for event in events:
            self._show(Change(event.when_ns, event=event))
        return events

    def _show(self, change: Change) -> None:
        if self._experiment.ownership is None:
            return
        self.n["callback_calls"] += 1
        try:
            self._experiment.ownership(change)
        except (Exception, SystemExit):  # the user's code may fail in any way, and the service not with it
            self.n["callback_errors"] += 1
            log.exception("the experiment failed at %r", change)

    def tune(self, settings: EngineSettings) -> None:
        """See abi.h."""
        super().tune(settings)
        self.intake.max_delayed = settings.max_held_total

    def counters(self) -> dict[str, int]:
        """Return every counter: the C engine's, raised by ours, and those of experiments."""
        counters = super().counters() | dict.fromkeys(_OWN_COUNTERS, 0)
        for name, count in list(self.n.items()):
            counters[name] += count
        return counters

    # ---- what the worker's thread asks for

    def take(self, lane: int, mode: EngineMode, basket: Any) -> int:
        """Hand over what waits in a lane; return when to be asked again, 0 for never."""
        if self._failure is not None:
            raise self._failure
        with self.intake.handing_over(mode, basket, lib.ftt_now_ns()) as intake:
            for _ in range(_ROUNDS):  # all that came may be lost or late: what waits behind it?
                if not sum(queue.receive() for queue in self._lanes[lane]) or intake.handed:
                    break
        return self.intake.next_due_ns

    def give(self, fates: Any, count: int) -> None:
        """Carry out verdicts, struct ftt_fate."""
        with self._giving:
            try:
                self.intake.give(fates, count, self._may_leave)
            except Exception as error:  # C cannot take it here: the next `take` tells it
                self._failure = error

    def hear(self, worker: int, record: bytes) -> bool:
        """Show a record of the other node's. False: it has not come."""
        return self.intake.hears(worker, record, self._mode, lib.ftt_now_ns())

    def tell(self, record: bytes) -> bool:
        """Show a record that is to be told. False: it is lost."""
        return self.intake.tells(record, self._mode, lib.ftt_now_ns())

    def _may_leave(self) -> bool:
        return bool(lib.ftt_engine_lease_left_ns(self._worker_of) > 0)

    def _flow_info(self, key: Any) -> Any | None:
        info = ffi.new("struct ftt_flow_info *")
        return info if lib.ftt_engine_flow(self._worker_of, key, info) else None


class Owner(Protocol):
    """Who is called through a struct ftt_hooks."""

    def take(self, lane: int, mode: EngineMode, basket: Any) -> int:
        """See ProgrammableEngine."""

    def give(self, fates: Any, count: int) -> None:
        """See ProgrammableEngine."""

    def hear(self, worker: int, record: bytes) -> bool:
        """See ProgrammableEngine."""

    def tell(self, record: bytes) -> bool:
        """See ProgrammableEngine."""


def set_hooks(hooks: Any, owner: Any) -> None:
    """Have a struct ftt_hooks call an Owner, of which this is the handle."""
    hooks.of, hooks.take, hooks.give = owner, lib.ftt_take, lib.ftt_give
    hooks.hear, hooks.tell = lib.ftt_hear, lib.ftt_tell


def _not_taken(_kind: object, error: BaseException, _trace: object) -> int:
    """Whatever it was, the worker must know: it cannot go on."""
    log.error("the programmable engine cannot go on", exc_info=error)
    return -(getattr(error, "errno", None) or errno.EIO)


@ffi.def_extern(name="ftt_take", onerror=_not_taken)  # type: ignore[untyped-decorator]
def _take(of: Any, lane: int, mode: int, basket: Any) -> int:
    owner: Owner = ffi.from_handle(of)
    return owner.take(lane, EngineMode(mode), basket)


@ffi.def_extern(name="ftt_give")  # type: ignore[untyped-decorator]
def _give(of: Any, fates: Any, count: int) -> None:
    owner: Owner = ffi.from_handle(of)
    owner.give(fates, count)


def _goes_on(_kind: object, error: BaseException, _trace: object) -> bool:
    """A record is decided on without the experiment."""
    log.error("a record could not be shown to the experiment", exc_info=error)
    return True


@ffi.def_extern(name="ftt_hear", onerror=_goes_on)  # type: ignore[untyped-decorator]
def _hear(of: Any, worker: int, record: Any, length: int) -> bool:
    owner: Owner = ffi.from_handle(of)
    return owner.hear(worker, bytes(ffi.buffer(record, length)))


@ffi.def_extern(name="ftt_tell", onerror=_goes_on)  # type: ignore[untyped-decorator]
def _tell(of: Any, _worker: int, record: Any, length: int) -> bool:
    owner: Owner = ffi.from_handle(of)
    return owner.tell(bytes(ffi.buffer(record, length)))
