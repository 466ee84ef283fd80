"""What pyproject.toml cannot say: the native extension is built by cffi, the library for servers and the
programs beside it by a compiler, and the lab goes inside.

FTTCP_WITHOUT_NATIVE=1 leaves the extension out, so that `make build` can install the Python side once
and compile the C core on its own whenever its sources change.
"""

import os
import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

LAB = "lab"
INSIDE = Path("fttcp/_lab", LAB)
"""Where an installed fttcp has the lab: nothing else on the machine sees a package of that common name."""


class BuildWithLab(build_py):
    """Copies the folder `lab` into the package; an editable installation uses it where it is."""

    def run(self) -> None:
        """Build."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, INSIDE)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(LAB, target, ignore=shutil.ignore_patterns("__pycache__", "build"))
            beside = runpy.run_path("native/programs.py")
            for name in beside["BESIDE"]:
                beside["compile_program"](Path(self.build_lib, "fttcp", name))


setup(
    cffi_modules=[] if os.environ.get("FTTCP_WITHOUT_NATIVE") else ["native/ffi/build.py:ffi"],
    cmdclass={"build_py": BuildWithLab},
    # cffi builds for the limited API: one wheel for this Python and all later ones.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
