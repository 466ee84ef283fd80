"""A release to come, made of this one's sources: a copy in which a few lines differ, built on its own.

Nothing in the product knows of it. A line that is not there any more is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fttcp._native import lib

ROOT = Path(__file__).parents[2]
NEWEST = lib.FTT_CHANNEL_VERSION + 1
MAY_SKIP, STRANGE_KEY = 0xFE, "zz"
_SPEAKS = "speaks=(lib.FTT_CHANNEL_OLDEST, lib.FTT_CHANNEL_VERSION)"
_AFTER_A_RECORD = "\tc->out[lane][to].count++;\n}"
_ONE_MORE = f"""\tc->out[lane][to].count++;
	if (r->type == FTT_REC_COMMIT && len) {{ /* there is more to tell of it by now */
		struct ftt_record more = {{.type = FTT_REC_CLOSE, .key = r->key, .irs = r->irs}};
		uint8_t *p = c->out[lane][to].bytes + c->out[lane][to].len;

		len = ftt_record_put(p, FTT_CHANNEL_MAX - FTT_CHANNEL_MAC - c->out[lane][to].len, &more);
		p[0] = len ? {MAY_SKIP:#x} : p[0];
		c->out[lane][to].len += len;
	}}
}}"""


def _change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times"
    file.write_text(text.replace(old, new))


def _copy(folder: Path) -> None:
    left_out = shutil.ignore_patterns("__pycache__", "build", "tests", "fuzz")
    for part in ("native", "fttcp"):
        shutil.copytree(ROOT / part, folder / part, ignore=left_out)
    _change(
        folder / "fttcp/wire/body.py", '"v": VERSION,', f'"v": VERSION, "{STRANGE_KEY}": [1, {{"a": b"b"}}],'
    )
    _change(folder / "fttcp/__init__.py", "__version__ = ", "__version__ = 'next' or ")


def make(folder: Path) -> list[str]:
    """The release after this one: it speaks a newer version, too, and tells what this one does not know.
    Return its command."""
    _copy(folder)
    newest = f"#define FTT_CHANNEL_VERSION {NEWEST}"
    _change(folder / "native/core/types.h", f"#define FTT_CHANNEL_VERSION {NEWEST - 1}", newest)
    _change(folder / "native/engine/channel/channel.c", _AFTER_A_RECORD, _ONE_MORE)
    _change(folder / "native/ffi/build.py", '"-O2"', '"-O0"')
    for file in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, folder)
    build = ["setup.py", "--quiet", "build_ext", "--force", "--parallel", "2", "--build-lib", "."]
    done = subprocess.run([sys.executable, *build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return _command(folder)


def make_far(folder: Path) -> list[str]:
    """A release of which this one cannot speak any version of the commit channel. Return its command."""
    _copy(folder)
    _change(folder / "fttcp/node/assembly.py", _SPEAKS, f"speaks=({NEWEST}, {NEWEST})")
    return _command(folder)


def make_earlier(folder: Path) -> list[str]:
    """A release that knows nothing of stored replies, and tells nothing of them. Return its command."""
    _copy(folder)
    without = "for term in Term if term is not Term.STORED_REPLIES)"  # the last one
    _change(folder / "fttcp/group/terms.py", "for term in Term)", without)
    return _command(folder)


def _command(folder: Path) -> list[str]:
    start = "from fttcp.cli.main import main; main()"
    path = os.pathsep.join((str(folder), str(ROOT)))  # its own, and this one's lab
    return ["env", f"PYTHONPATH={path}", sys.executable, "-c", start]
