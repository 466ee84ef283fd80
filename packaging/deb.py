"""Builds the Debian packages: lays a source tree out in build/deb, and runs dpkg-buildpackage there.

    packaging/deb.py [OUT]

The version is that of fttcp/__init__.py. The libraries from PyPI that go into the package are the ones
that are installed beside this Python, so those that the tests ran with.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("fttcp", "lab", "native", "docs", "packaging", "README.md", "LICENSE", "CHANGELOG.md",
         "pyproject.toml", "setup.py")  # fmt: skip
IGNORED = ("__pycache__", "build", "_ftt.*", "*.egg-info")
CHANGES = """fttcp ({version}) bookworm; urgency=medium

  * Release {version}: see CHANGELOG.md.

 -- {maintainer}  {date}
"""


def version() -> str:
    """Return the version, which stands in one place."""
    found = re.search(r'^__version__ = "(.*)"', (ROOT / "fttcp/__init__.py").read_text(), re.M)
    assert found is not None
    return found[1]


def moment() -> int:
    """Return the time of the sources: of the last commit, or now."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else int(time.time())


def lay_out(tree: Path) -> None:
    """Copy the sources, and put debian/ where its tools look."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns(*IGNORED))
        else:
            shutil.copy(source, tree / name)
    shutil.move(tree / "packaging/debian", tree / "debian")
    shutil.move(tree / "CHANGELOG.md", tree / "docs")  # else debhelper takes it for Debian's
    control = (tree / "debian/control").read_text()
    maintainer = re.search(r"^Maintainer: (.*)$", control, re.M)
    assert maintainer is not None
    changes = CHANGES.format(
        version=version(), maintainer=maintainer[1], date=formatdate(moment(), localtime=False)
    )
    (tree / "debian/changelog").write_text(changes.replace("-0000", "+0000"))


def build(out: Path) -> None:
    """Build the packages."""
    tree = out / f"fttcp-{version()}"
    lay_out(tree)
    pip = [sys.executable, "-m", "pip"]
    frozen = subprocess.run(
        [*pip, "freeze", "--exclude-editable"], capture_output=True, text=True, check=True
    )
    constraints = out / "constraints.txt"
    constraints.write_text(frozen.stdout)
    environment = os.environ | {
        "BUILD_PYTHON": sys.executable,
        "CONSTRAINTS": str(constraints),
        "PIP_CACHE_DIR": str(ROOT / "build/pip-cache"),
        "SOURCE_DATE_EPOCH": str(moment()),
    }
    command = ["dpkg-buildpackage", "--build=binary", "--unsigned-source", "--unsigned-changes"]
    subprocess.run(command, cwd=tree, env=environment, check=True)
    shutil.rmtree(tree)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/deb").resolve())
