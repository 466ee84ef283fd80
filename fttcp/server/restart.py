"""When is a server that ended started again? Pure: times are passed in, in seconds of a monotonic clock."""

from __future__ import annotations

from collections import deque

from fttcp.server.settings import RestartSection


class RestartPolicy:
    """Delays that double while a server keeps ending, and a limit of starts within a window."""

    def __init__(self, settings: RestartSection) -> None:
        self._settings = settings
        self._delay_s = settings.delay_ms / 1000
        self._restarts: deque[float] = deque(maxlen=1000)
        self.gave_up = False
        self.total = 0

    def ended(self, ran_s: float, failed: bool, now_s: float) -> float | None:
        """The server ended by itself after ``ran_s``; return after how many seconds it is to be started
        again, None for never. ``gave_up`` is then true if the limit is the reason."""
        settings = self._settings
        if settings.policy == "never" or (settings.policy == "on-failure" and not failed):
            return None
        if ran_s >= settings.steady_s:
            self._delay_s = settings.delay_ms / 1000
            self._restarts.clear()
        while self._restarts and now_s - self._restarts[0] > settings.window_s:
            self._restarts.popleft()
        if settings.limit and len(self._restarts) >= settings.limit:
            self.gave_up = True
            return None
        self._restarts.append(now_s)
        self.total += 1
        delay_s = self._delay_s
        self._delay_s = min(max(2 * delay_s, 0.01), settings.delay_most_ms / 1000)
        return delay_s

    def configure(self, settings: RestartSection) -> None:
        """Use other settings from now on."""
        self._settings = settings

    def forgive(self) -> None:
        """Begin anew: an operator wants another try."""
        self.gave_up = False
        self._delay_s = self._settings.delay_ms / 1000
        self._restarts.clear()
