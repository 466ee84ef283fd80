"""The adaptive detector beside an engine: what heartbeats came in like, and how long a silence is borne."""

from __future__ import annotations

from fttcp.ownership.detector import MOST, PHI_LOST, PHI_SUSPECT, PhiDetector, patience_ns, suspicion_ns
from fttcp.planes.base import Engine, EngineSettings


class Detectors:
    """One for each peer of an engine. The engine judges; this tells it from time to time what was learnt."""

    def __init__(self, engine: Engine, settings: EngineSettings) -> None:
        self._engine = engine
        self._fixed_ns = settings.lease_ns + settings.lease_ns * settings.drift_ppm // 1_000_000
        self._beat_ns = settings.beat_interval_ns
        self._detectors = [PhiDetector(self._beat_ns) for _ in settings.peers]

    def add_peer(self) -> None:
        """There is another one."""
        self._detectors.append(PhiDetector(self._beat_ns))

    def learn(self) -> None:
        """Take in what came since the last call, and set the engine's patience."""
        for peer, detector in enumerate(self._detectors):
            detector.extend(self._engine.intervals(peer))
            lost_ns = patience_ns(detector, PHI_LOST, self._fixed_ns, int(self._fixed_ns * MOST))
            self._engine.set_patience(peer, lost_ns, suspicion_ns(detector, PHI_SUSPECT, lost_ns))

    def close(self) -> None:
        """Let the engine bear a silence for as long as without a detector."""
        for peer in range(len(self._detectors)):
            self._engine.set_patience(peer, 0, 0)
