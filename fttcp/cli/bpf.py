"""Whether this kernel could carry a plane of its own, of programs (eBPF), for `fttcp doctor`.

fttcp has no such plane: the kernel asks it about each packet by NFQUEUE. So nothing here is a fault. What is
tried is real: the core's decisions, compiled for BPF, are given to the kernel's verifier.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fttcp
from fttcp.cli.checks import Check, kernel_version, ok
from fttcp.cli.host_facts import asked

CAP_BPF = 39
_NEWER = (6, 9)
"""Since then a program may build a connection of a handshake that it has kept (`bpf_sk_assign_tcp_reqsk`)."""
_VERIFIES_S = 60
"""On a busy machine; alone it takes a second."""
_PROGRAM = Path(fttcp.__file__).parent / "fttcp-bpf"
_JIT = Path("/proc/sys/net/core/bpf_jit_enable")
_COOKIES = Path("/proc/sys/net/ipv4/tcp_syncookies")


@dataclass(frozen=True)
class BpfFacts:
    """What the kernel has. `version` is upstream's; `error` is why it could not be looked at, or ''.

    `may`: this process has CAP_BPF; `jit`: programs are compiled; `cookies`: SYN cookies are on; `btf`: it
    describes its own types; `adopts`: a program may build a connection of a handshake that was seen; `tcx`:
    programs go with the process that attached them; `holds`: a queue may be such a program, so that packets
    can wait; `refused`: why the verifier takes no decisions, or ''; `programs`: instructions of each that it
    took, and how many it went through."""

    version: tuple[int, ...]
    may: bool
    jit: bool
    cookies: bool
    error: str = ""
    btf: bool = False
    adopts: bool = False
    tcx: bool = False
    holds: bool = False
    refused: str = ""
    programs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def see_bpf(release: str, version: str, capabilities: int, inside: Sequence[str]) -> BpfFacts:
    """Look at this kernel; ``inside`` is a command that gives its arguments a network namespace."""
    told, wrong = asked([*inside, str(_PROGRAM), "look"], _VERIFIES_S)
    return BpfFacts(
        version=kernel_version(release, version),
        may=bool(capabilities >> CAP_BPF & 1),
        jit=_is_on(_JIT),
        cookies=_is_on(_COOKIES),
        error=wrong,
        **({} if wrong else json.loads(told)),
    )


def check_bpf(facts: BpfFacts) -> Check:
    """What a plane in the kernel would find here."""
    reasons = list(_lacks(facts))
    if reasons:
        return ok("eBPF", f"this kernel could not carry a plane of its own: {'; '.join(reasons)}")
    verified = max(program["verified"] for program in facts.programs.values())
    waits = "can wait in it" if facts.holds else "cannot wait in it (no CONFIG_NET_SCH_BPF, 6.16)"
    seen = f"this kernel could carry a plane of its own: it verified {verified:,} instructions"
    return ok("eBPF", f"{seen}; packets {waits}")


def _lacks(facts: BpfFacts) -> Iterator[str]:
    if facts.version < _NEWER:
        yield f"kernel {'.'.join(map(str, _NEWER))} or later is needed"
    if not facts.jit:
        yield "net.core.bpf_jit_enable is 0: programs are interpreted"
    if not facts.cookies:
        yield "net.ipv4.tcp_syncookies is 0: no connection is built by a program"
    if not facts.may:
        yield "without CAP_BPF"
    elif facts.error:
        yield facts.error
    else:
        yield from _lacks_inside(facts)


def _lacks_inside(facts: BpfFacts) -> Iterator[str]:
    if not facts.btf:
        yield "no BTF (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)"
    elif not facts.adopts:
        yield "no bpf_sk_assign_tcp_reqsk (CONFIG_SYN_COOKIES)"
    if facts.refused:
        yield f"the verifier refuses the decisions: {facts.refused}"
    elif not facts.tcx:
        yield "no tcx (CONFIG_NET_XGRESS)"


def _is_on(path: Path) -> bool:
    return path.exists() and path.read_text().strip() != "0"
