"""What is installed from a wheel: tag, names, and the lab from inside."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("fttcp", "lab", "native", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the sources: nothing of earlier builds is in it."""
    place = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "build", "_ftt.*", "*.so")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=ignored)
        else:
            shutil.copy(source, place / name)
    options = ["--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", "out"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "."], cwd=place, check=True)
    [found] = (place / "out").iterdir()
    return found


def test_a_wheel_serves_every_later_python_and_has_no_common_names(wheel: Path) -> None:
    assert wheel.name.endswith(f"-cp311-abi3-linux_{platform.machine()}.whl")
    names = zipfile.ZipFile(wheel).namelist()
    about = wheel.name.split("-cp311")[0] + ".dist-info"
    assert {name.partition("/")[0] for name in names} == {"fttcp", about}
    assert "fttcp/_ftt.abi3.so" in names
    assert "fttcp/_lab/lab/cli.py" in names and "fttcp/_lab/lab/bench/native/Makefile" in names


def test_an_installed_lab_is_found_by_the_commands_only(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # -S -P: neither the checkout nor this environment's editable installation, but its other packages.
    others = next(path for path in sys.path if path.endswith("site-packages"))
    path = f"import sys; sys.path[:0] = [{str(site)!r}]; sys.path.append({others!r}); "

    def run(code: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-S", "-P", "-c", path + code]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)

    assert "No module named 'lab'" in run("import fttcp.cli.main, lab").stderr
    for words in (["lab", "fault", "--help"], ["bench", "--help"], ["demo", "--help"]):
        done = run(f"from fttcp.cli.main import main; main({words!r}, 'fttcp')")
        assert done.returncode == 0 and done.stdout.startswith("Usage: fttcp " + words[0]), done
    shutil.rmtree(site / "fttcp/_lab")
    done = run("from fttcp.cli.main import main; main(['lab', 'up', '--name', 'x'], 'fttcp')")
    assert done.returncode == 1 and "fttcp-lab" in done.stderr
