"""What the doctor says of a plane of programs in the kernel, and that it sees this kernel as it is."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from fttcp.cli.bpf import CAP_BPF, BpfFacts, check_bpf, see_bpf
from fttcp.cli.checks import Status

GOOD = BpfFacts(
    version=(6, 18, 44),
    may=True,
    jit=True,
    cookies=True,
    btf=True,
    adopts=True,
    tcx=True,
    programs={"from_client": {"instructions": 5057, "verified": 214_684}},
)


def test_a_kernel_that_has_all_could_carry_one() -> None:
    found = check_bpf(GOOD)
    assert found.status is Status.OK
    assert "could carry" in found.seen and "214,684" in found.seen and "packets cannot wait" in found.seen
    assert "packets can wait in it" in check_bpf(replace(GOOD, holds=True)).seen


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(GOOD, version=(6, 8, 12)), "kernel 6.9 or later"),
        (replace(GOOD, jit=False), "bpf_jit_enable"),
        (replace(GOOD, cookies=False), "tcp_syncookies"),
        (replace(GOOD, may=False, error="not permitted"), "CAP_BPF"),
        (replace(GOOD, error="there is no fttcp-bpf on this host"), "there is no fttcp-bpf"),
        (replace(GOOD, btf=False, adopts=False), "CONFIG_DEBUG_INFO_BTF"),
        (replace(GOOD, adopts=False), "bpf_sk_assign_tcp_reqsk"),
        (replace(GOOD, refused="Invalid argument", tcx=False, programs={}), "verifier refuses"),
        (replace(GOOD, tcx=False), "tcx"),
    ],
)
def test_the_reason_is_told_and_no_other_one(facts: BpfFacts, reason: str) -> None:
    found = check_bpf(facts)
    assert found.status is Status.OK  # what fttcp does today needs none of it
    assert "could not carry" in found.seen and reason in found.seen and ";" not in found.seen


def test_all_reasons_are_told() -> None:
    seen = check_bpf(BpfFacts(version=(5, 10), may=True, jit=False, cookies=False, refused="x")).seen
    assert all(word in seen for word in ("6.9", "jit", "syncookies", "BTF", "verifier"))


@pytest.mark.skipif(os.geteuid() != 0, reason="the verifier needs root")
def test_this_kernel_is_seen_as_it_is() -> None:
    facts = see_bpf(platform.release(), platform.version(), 1 << CAP_BPF, ["unshare", "--net"])
    assert facts.error == ""
    assert facts.btf == Path("/sys/kernel/btf/vmlinux").exists()
    names = Path("/proc/kallsyms").read_text()
    assert facts.adopts == (" bpf_sk_assign_tcp_reqsk\n" in names)
    assert facts.tcx == (" tcx_prog_attach\n" in names)
    assert bool(facts.refused) != bool(facts.programs)
