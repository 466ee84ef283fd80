"""An experiment: a stricter output rule.

By the rule of the engine an answer waits until the backup has committed the input that the answer
acknowledges. By this one it also waits until the backup's server has said the same bytes. What is let go here
is still decided by the engine's own rule behind it.
"""

from fttcp.planes.experiment import Action, Delay, Direction, EngineMode, Packet, Pass, Protection

AGAIN_S = 0.0005
_MODULUS = 1 << 32


def stricter_output(packet: Packet) -> Action:
    """Ask again, with the flow as it is then, until the backup's server is as far."""
    flow, segment = packet.flow, packet.segment
    if packet.mode is not EngineMode.PAIRED or packet.direction is not Direction.FROM_SERVER:
        return Pass()
    if flow is None or segment is None or flow.protection is not Protection.PROTECTED or not segment.seg_len:
        return Pass()
    end = segment.seg_seq + segment.seg_len - flow.delta
    ahead = (end - flow.peer_snd_nxt) % _MODULUS
    return Delay(AGAIN_S, again=True) if 0 < ahead < _MODULUS // 2 else Pass()
