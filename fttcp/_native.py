"""The one importer of the cffi extension: `ffi` and `lib` of native/engine/api/abi.h."""

from fttcp._ftt import ffi, lib

__all__ = ["ffi", "lib"]
