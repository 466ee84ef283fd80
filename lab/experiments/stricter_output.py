"""An experiment: a stricter output rule.

By the rule of the engine an answer waits until the backup has committed the input that the answer
acknowledges. By this one it waits until the backup has committed all input that this node's stack has taken,
acknowledged or not. What is let go here is still decided by the engine's own rule behind it.
"""

from fttcp.ownership.model import EngineMode
from fttcp.planes.base import Protection
from fttcp.planes.experiment import Action, Delay, Direction, Packet, Pass

AGAIN_S = 0.0005
_MODULUS = 1 << 32


def stricter_output(packet: Packet) -> Action:
    """Ask again, with the flow as it is then, until the backup is as far."""
    flow = packet.flow
    if packet.mode is not EngineMode.PAIRED or packet.direction is not Direction.FROM_SERVER or flow is None:
        return Pass()
    behind = (flow.local_rcv_nxt - flow.committed) % _MODULUS
    waits = flow.protection is Protection.PROTECTED and packet.payload and 0 < behind < _MODULUS // 2
    return Delay(AGAIN_S, again=True) if waits else Pass()
