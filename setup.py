"""What pyproject.toml cannot say: the native extension is built by cffi.

FTTCP_WITHOUT_NATIVE=1 leaves it out, so that `make build` can install the Python side once and
compile the C core on its own whenever its sources change.
"""

import os

from setuptools import setup

setup(cffi_modules=[] if os.environ.get("FTTCP_WITHOUT_NATIVE") else ["native/ffi/build.py:ffi"])
