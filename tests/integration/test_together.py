"""An engine that is held: its gate opens at once, what follows from that waits for the release."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack

from fttcp.ownership.model import EngineMode, Lease
from fttcp.planes.base import EngineEvent, EventKind, LivenessSettings
from fttcp.planes.liveness import Liveness
from fttcp.wire import clock
from lab.hosts import await_condition
from tests.beats import KEYS, PORT, open_engine, peers
from tests.integration.netns import Namespace, Net, needs_root

pytestmark = needs_root

FOLLOWS = (EventKind.ANNOUNCED, EventKind.TAKEOVER_DONE)


def test_a_gate_opens_at_once_and_what_follows_waits_for_the_release() -> None:
    with ExitStack() as stack:
        places = [Namespace(), Namespace()]
        for place in places:
            stack.callback(place.close)
        Net.join(places[0], "peer0", places[1], "peer0", "78")
        command = places[0].command(sys.executable, "-m", __name__)
        seen = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert seen["left_ns"] > 0, "the lease is there at once"
    opened = [when_ns for kind, when_ns in seen["events"] if kind == EventKind.GATE_OPEN]
    followed = {kind: when_ns for kind, when_ns in reversed(seen["events"]) if kind in FOLLOWS}
    assert len(opened) == 1 and opened[0] < seen["released_ns"], seen
    assert set(followed) == set(FOLLOWS), "both came"
    assert min(followed.values()) >= seen["released_ns"], seen


def _take_over() -> None:
    """Let an engine in this namespace take over while it is held; print what it told, and when."""
    liveness = Liveness(LivenessSettings(KEYS, 1, 1, 1, peers(1), PORT))
    engine = open_engine(liveness, 1, 0, misses=100)
    engine.start()
    engine.set_mode(EngineMode.BACKUP, 1, 0)
    engine.hold()
    engine.publish(b"alone", 0)
    engine.set_lease(Lease.SELF, None, clock.now_ns())
    engine.set_mode(EngineMode.SOLO, 1, 0)
    engine.announce(1, 1)
    left_ns, events = engine.lease_left_ns(), list[EngineEvent]()
    released_ns = clock.now_ns()
    engine.release()

    def complete() -> bool:
        events.extend(engine.events())
        return {event.kind for event in events} >= set(FOLLOWS)

    await_condition(complete, 30, "the takeover is done")
    told = [(event.kind, event.when_ns) for event in events]
    print(json.dumps({"left_ns": left_ns, "released_ns": released_ns, "events": told}))
    engine.close()
    liveness.close()


if __name__ == "__main__":
    _take_over()
