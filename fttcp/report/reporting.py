"""The history of this node and the outlets that its configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from fttcp.config import NodeSection
from fttcp.report.events import Event, History
from fttcp.report.history import FileSink, last_number
from fttcp.report.notify import FifoSink, HookSink
from fttcp.report.outlets import Outlet, Sink, log_sink


class Reporting:
    """Owns the history and its outlets; both live from construction to ``close``."""

    def __init__(self, node: NodeSection) -> None:
        """Raises OSError if the kept events cannot be read, NotifyError if the FIFO cannot be made."""
        self.history = History(node.name, [self._pass_on], last_number(Path(node.state_dir)))
        self._outlets: dict[str, tuple[Hashable, Outlet]] = {}
        self.change(node)

    def change(self, node: NodeSection) -> list[Outlet]:
        """Open what the configuration asks for; what has not changed is left alone. Return what it does not
        ask for any more, to be closed: that waits for what is being written. Raises NotifyError; then
        nothing has changed."""
        wanted = _wanted(node)
        sinks = {
            name: make()
            for name, (settings, make) in wanted.items()
            if name not in self._outlets or self._outlets[name][0] != settings
        }
        opened = {name: (wanted[name][0], Outlet(name, made)) for name, made in sinks.items()}
        stale = [
            outlet for name, (_, outlet) in self._outlets.items() if name in opened or name not in wanted
        ]
        self._outlets = {name: opened.get(name) or self._outlets[name] for name in wanted}
        return stale

    def _pass_on(self, event: Event) -> None:
        for _, outlet in self._outlets.values():
            outlet.put(event)

    def outlets(self) -> list[dict[str, object]]:
        """Return what ``status`` shows of each outlet."""
        return [
            {"name": name, "lost": outlet.lost, "trouble": outlet.trouble}
            for name, (_, outlet) in self._outlets.items()
        ]

    def close(self) -> None:
        """Write what waits and end."""
        for _, outlet in self._outlets.values():
            outlet.close()
        self._outlets = {}


def _wanted(node: NodeSection) -> dict[str, tuple[Hashable, Callable[[], Sequence[Sink]]]]:
    """Outlet -> (its settings, what makes its sinks)."""
    state, notify = Path(node.state_dir), node.notify
    wanted: dict[str, tuple[Hashable, Callable[[], Sequence[Sink]]]] = {
        "log": (
            node.log_level,
            lambda: [log_sink(node.log_level)],
        ),
        "history": (
            (node.state_dir, node.history_kib),
            lambda: [FileSink(state, node.history_kib * 1024)],
        ),
    }
    if notify.command is not None:
        command = notify.command
        wanted["notify command"] = (
            (command, tuple(notify.events), notify.timeout_s),
            lambda: [HookSink(command, notify.events, notify.timeout_s)],
        )
    if notify.fifo is not None:
        fifo = Path(notify.fifo)
        wanted["notify fifo"] = (fifo, lambda: [FifoSink(fifo)])
    return wanted
