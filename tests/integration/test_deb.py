"""The Debian packages: built, looked at by lintian, installed, updated and removed on a scratch root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fttcp

ROOT = Path(__file__).parents[2]
FIRST_PAIR = Path(__file__).with_name("first_pair.sh")
SCRATCH = Path(__file__).with_name("scratch_root.sh")
NOT_FOR_A_NODE = ("mininet", "clang", "spin", "haproxy", "keepalived", "build-essential", "gcc")
LIST = (
    "find /etc /usr /lib /var /opt /run -xdev "
    r"\( -path /var/lib/dpkg -o -path /var/cache -o -path /var/log -o -path /var/lib/systemd \) "
    "-prune -o -print"
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(
        not all(shutil.which(tool) for tool in ("dpkg-buildpackage", "dh", "lintian")),
        reason="needs Debian's tools: scripts/debian-packages",
    ),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deb")
    command = [sys.executable, str(ROOT / "packaging/deb.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return out


def field(package: Path, name: str) -> str:
    return subprocess.run(
        ["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=True
    ).stdout.strip()


def in_scratch_root(packages: Path, script: str) -> str:
    done = subprocess.run(
        [SCRATCH, packages], input=script, capture_output=True, text=True, timeout=240, check=False
    )
    if done.returncode == 77:
        pytest.skip(f"no overlay over / here: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_packages_need_what_a_node_needs(packages: Path) -> None:
    [node] = packages.glob("fttcp_*.deb")
    [lab] = packages.glob("fttcp-lab_*_all.deb")
    assert field(node, "Version") == field(lab, "Version") == fttcp.__version__
    depends = {re.split(r"[ (:]", word.strip())[0] for word in field(node, "Depends").split(",")}
    assert {"iproute2", "nftables", "python3", "libmnl0", "libsodium23"} <= depends
    assert not depends & set(NOT_FOR_A_NODE)
    assert not {re.split(r"[ (]", word.strip())[0] for word in field(lab, "Depends").split(",")} & set(
        NOT_FOR_A_NODE
    )


def test_lintian_finds_nothing(packages: Path) -> None:
    [changes] = packages.glob("*.changes")
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", changes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    for overrides in (ROOT / "packaging/debian").glob("*.lintian-overrides"):
        assert overrides.read_text().startswith("#"), f"{overrides}: without a reason"


def test_a_package_is_installed_updated_and_removed(packages: Path) -> None:
    script = f"""
        {LIST} | sort >/tmp/before
        dpkg --install /tmp/given/fttcp_*.deb /tmp/given/fttcp-lab_*.deb
        fttcp --version
        id -un fttcp
        cp /usr/share/doc/fttcp/examples/*.toml /etc/fttcp
        fttcp keygen /etc/fttcp/key
        fttcp check-config /etc/fttcp/node.toml
        fttcp lab --help
        man --where node.toml witness.toml fttcp-status fttcp-lab-up
        systemctl is-enabled fttcp fttcp-witness || true
        test "$(find /usr/lib/fttcp -newer /tmp/before -name __pycache__ | wc -l)" -gt 10
        dpkg --verify fttcp
        dpkg --install /tmp/given/fttcp_*.deb
        dpkg --remove fttcp-lab
        fttcp lab up 2>&1 && exit 1
        dpkg --remove fttcp
        test ! -e /usr/lib/fttcp
        ls /etc/fttcp
        mkdir -p /var/lib/fttcp && touch /var/lib/fttcp/events.jsonl
        dpkg --purge fttcp
        {LIST} | sort >/tmp/after
        diff /tmp/before /tmp/after && echo nothing is left
        getent passwd fttcp || echo nobody is left
    """
    told = in_scratch_root(packages, script)
    assert f"fttcp, version {fttcp.__version__}" in told
    assert "/etc/fttcp/node.toml: good" in told
    assert "apt-get install fttcp-lab" in told
    assert re.search(r"^key\nnode.toml\nwitness.toml$", told, re.M), "removal keeps the configuration"
    assert told.count("\ndisabled") == 2, "a node starts when somebody wants it to"
    assert told.endswith("nothing is left\nnobody is left\n"), told


FAKE_SYSTEMCTL = """#!/bin/sh
# Answers as if systemd ran: what is in /tmp/enabled is enabled and runs. Orders are noted.
for unit; do :; done
for word; do
    case $word in
    is-enabled) grep -qx "$unit" /tmp/enabled && echo enabled && exit 0; echo disabled; exit 1 ;;
    is-active) grep -qx "$unit" /tmp/enabled; exit ;;
    start | stop | restart | try-restart) echo "$@" >>/tmp/orders; exit 0 ;;
    esac
done
"""


def test_a_daemon_is_stopped_for_an_update_and_started_again_if_it_was_enabled(packages: Path) -> None:
    script = f"""
        mkdir -p /run/systemd/system
        rm /usr/bin/systemctl
        cat >/usr/bin/systemctl <<'END'
{FAKE_SYSTEMCTL}
END
        chmod 755 /usr/bin/systemctl
        printf '#!/bin/sh\nexit 0\n' >/usr/sbin/policy-rc.d
        touch /tmp/enabled /tmp/orders
        dpkg --install /tmp/given/fttcp_*.deb
        cp /tmp/orders /tmp/installed
        echo fttcp.service >/tmp/enabled
        : >/tmp/orders
        dpkg --install /tmp/given/fttcp_*.deb
        cp /tmp/orders /tmp/updated
        : >/tmp/orders
        dpkg --remove fttcp
        for step in installed updated orders; do echo "== $step"; cat /tmp/$step; done
    """
    told = in_scratch_root(packages, script).partition("== installed\n")[2]
    installed, _, rest = told.partition("== updated\n")
    updated, _, removed = rest.partition("== orders\n")
    assert "start" not in installed, told
    orders = [line.split() for line in updated.splitlines() if "fttcp.service" in line]
    verbs = [word for line in orders for word in line if word in ("start", "stop", "restart")]
    assert verbs == ["stop", "start"], told
    assert re.search(r"stop .*fttcp\.service", removed) and "start" not in removed, told


def test_the_lab_runs_from_its_package(packages: Path) -> None:
    script = f"""
        dpkg --install /tmp/given/fttcp_*.deb /tmp/given/fttcp-lab_*.deb
        export FTTCP_LAB=packaged-{os.getpid()}
        cd /
        fttcp lab up
        fttcp lab exec client -- curl --silent --fail --output /dev/null http://10.77.0.100/
        fttcp lab fault crash-host primary
        fttcp lab exec client -- curl --silent --fail --output /dev/null http://10.77.0.100/
        fttcp lab down
        echo both were answered
    """
    assert in_scratch_root(packages, script).endswith("both were answered\n")


def test_two_hosts_from_nothing_as_the_readme_tells(packages: Path) -> None:
    done = subprocess.run([FIRST_PAIR, packages], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode == 77:
        pytest.skip(f"no overlay over / here: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("the download survived\nnothing is left\n"), done.stdout
