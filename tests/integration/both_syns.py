"""both_syns.py ADDRESS...: have the service and a router at this address open a connection each at once.

What the service says to it is held until there is its SYN and its answer to the router's; then what either
says until both have said something on both connections. Says `holds`, then each address when all has gone.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from netfilterqueue import NetfilterQueue

QUEUE, SERVICE, BGP = 9, "10.77.0.100", 179
SYN = 2
RULES = (f"INPUT -p tcp -s {SERVICE}", f"OUTPUT -p tcp -d {SERVICE}")


class Held:
    """Of one router. A connection is named by whether the service has accepted it."""

    def __init__(self) -> None:
        self.packets: list[Any] = []
        self.opened: set[bool] = set()
        self.said: set[tuple[bool, bool]] = set()

    def take(self, packet: Any, data: bytes, by_service: bool) -> bool:
        """Hold it, or let all go that is held; return whether that is over."""
        tcp = data[4 * (data[0] & 15) :]
        accepted = int.from_bytes(tcp[0:2] if by_service else tcp[2:4], "big") == BGP
        if tcp[13] & SYN and by_service:
            self.opened.add(accepted)
        elif len(tcp) > 4 * (tcp[12] >> 4):
            self.said.add((accepted, by_service))
        else:
            packet.accept()
            return False
        packet.retain()
        self.packets.append(packet)
        over = len(self.said) == 4
        if over or (len(self.opened) == 2 and not self.said):
            for one in self.packets:
                one.accept()
            self.packets.clear()
        return over


def main(addresses: list[str]) -> None:
    """Run until killed."""
    waiting = {address: Held() for address in addresses}

    def met(packet: Any) -> None:
        data = packet.get_payload()
        source, destination = (".".join(map(str, data[at : at + 4])) for at in (12, 16))
        by_service = source == SERVICE
        address = destination if by_service else source
        held = waiting.get(address)
        if held is None:
            packet.accept()
        elif held.take(packet, data, by_service):
            del waiting[address]
            print(address, flush=True)

    queue = NetfilterQueue()
    queue.bind(QUEUE, met)
    for rule in RULES:
        subprocess.run(
            ["iptables", "-I", *rule.split(), *f"-j NFQUEUE --queue-num {QUEUE}".split()], check=True
        )
    print("holds", flush=True)
    queue.run()


if __name__ == "__main__":
    main(sys.argv[1:])
