"""What is installed beside the program: manual pages, completions, systemd units."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from fttcp.cli.main import main
from fttcp.config.schema import Timing
from fttcp.server.settings import RestartSection

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prefix")
    program = str(Path(sys.executable).with_name("fttcp"))
    command = [sys.executable, "packaging/extras.py", str(out), "--fttcp", program]
    subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, check=True)
    return out


def test_every_command_has_a_page_without_faults(installed: Path) -> None:
    pages = {path.stem: path for path in (installed / "share/man/man1").iterdir()}
    assert {f"fttcp-{name}" for name in main.commands or main.list_commands(None)} <= pages.keys()  # type: ignore[arg-type]
    text = pages["fttcp-failover"].read_text()
    assert "\\-\\-timeout" in text and ".SH SYNOPSIS" in text
    if shutil.which("groff"):
        for path in pages.values():
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", path], capture_output=True, text=True)
            faults = [
                line
                for line in done.stderr.splitlines()
                if "cannot adjust" not in line and "break" not in line
            ]
            assert done.returncode == 0 and not faults, faults


def test_what_is_installed_is_what_is_imported() -> None:
    """A node brings the libraries that it uses, and no other: those of the tests stay with the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=]", line)[0].lower().replace("-", "_") for line in project["dependencies"]}
    used = set()
    for path in [*(ROOT / "fttcp").rglob("*.py"), *(ROOT / "lab").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                used.add(node.module.partition(".")[0])
    foreign = {name.lower() for name in used} - set(sys.stdlib_module_names) - {"fttcp", "lab"}
    foreign = foreign - {"dns"} | ({"dnspython"} if "dns" in foreign else set())  # it has another name
    of_a_checkout = {"matplotlib", "mininet", "tests"}  # extra `bench`; Debian's own
    assert foreign - of_a_checkout == wanted - {"cffi"}, "cffi: for the extension, which imports its backend"


def test_completions_are_valid_for_their_shells(installed: Path) -> None:
    for shell, place in (
        ("bash", "share/bash-completion/completions/fttcp"),
        ("zsh", "share/zsh/site-functions/_fttcp"),
        ("fish", "share/fish/vendor_completions.d/fttcp.fish"),
    ):
        assert "_FTTCP_COMPLETE" in (installed / place).read_text()
        if shutil.which(shell):
            subprocess.run([shell, "-n", installed / place], check=True)


def test_completion_offers_the_commands(installed: Path) -> None:
    script = (
        f"source {installed}/share/bash-completion/completions/fttcp; COMP_WORDS=(fttcp sw); COMP_CWORD=1; "
    )
    script += '_fttcp_completion fttcp; echo "${COMPREPLY[@]}"'
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", script], env={"PATH": path}, capture_output=True, text=True)
    assert done.stdout.split() == ["switchover"], done.stderr


def test_the_units_are_valid(installed: Path) -> None:
    units = sorted((installed / "lib/systemd/system").iterdir())
    names = ["fttcp-spread.service", "fttcp-sync.service", "fttcp-witness.service", "fttcp.service"]
    assert [unit.name for unit in units] == names
    assert "@FTTCP@" not in units[1].read_text()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_a_stop_that_waits_for_its_moment_is_not_killed() -> None:
    """Whatever timing.handover_wait_ms is: the role is handed over, and servers end, before systemd kills."""
    unit = (ROOT / "packaging/systemd/fttcp.service.in").read_text()
    (kills_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.M)
    timing = msgspec.json.schema(Timing)["$defs"]["Timing"]["properties"]
    longest_ms = timing["handover_wait_ms"]["maximum"] + RestartSection().stop_grace_ms
    assert longest_ms < int(kills_s) * 1000
