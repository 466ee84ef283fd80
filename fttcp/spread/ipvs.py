"""Groups as real servers of an IPVS service, in the words of `ipvsadm --restore`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fttcp.spread.member import Member


@dataclass(frozen=True, slots=True)
class IpvsService:
    """A virtual service. The director translates (`-m`): fttcp must find a service address in what comes."""

    address: str
    port: int
    protocol: str

    def lines(self, members: Sequence[Member]) -> list[str]:
        """Return a whole table; what nobody serves, for certain, has the weight 0, and keeps its
        connections."""
        service = f"-{self.protocol[0]} {_end(self.address, self.port)}"
        gone = [one for one in members if one.certain and not one.by]
        return [
            f"-A {service} -s wlc",
            *(
                f"-a {service} -r {_end(one.address, one.port)} -m -w {0 if one in gone else 1}"
                for one in members
            ),
        ]


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
