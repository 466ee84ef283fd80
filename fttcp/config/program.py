"""Whether a server's program can be kept in lock step: a library must get between it and the C library.

What is said here is what the file tells before it runs. What it does then `fttcp probe-server` finds out.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fttcp.config.elf import Elf, ElfError, own

_DEPTH = 5
"""Programs that start programs: a shell, env, the interpreter of a script."""
_SHELLS = frozenset({"sh", "dash", "bash"})
_SHELL_SIGNS = frozenset(";|&<>()`\n$")
_STARTERS = frozenset({"env", "exec", "nice", "nohup", "setarch", "setsid", "stdbuf"})
_WITH_VALUE = {"env": {"-u", "-C", "-S"}, "nice": {"-n"}, "stdbuf": {"-i", "-o", "-e"}}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_ARCHITECTURE = re.compile(r"(?:linux32|linux64|x86_64|i[3-6]86|aarch64|armv\w+|ppc\w*|riscv\w*|s390x?)$")
_GO = frozenset({".go.buildinfo", ".note.go.buildid"})
_OPENSSL_TEXT = re.compile(
    rb"SSL (?:(?<=OpenSSL )|(?<=LibreSSL )|(?<=BoringSSL ))[0-9]\.[0-9]+\.[0-9]+[a-z]? "
)
"""A program may have 100 MiB, and no other thread runs during a search: what is alike in all comes first,
which makes it ten times as fast."""
_OPENSSL_DRAWS = ("RAND_bytes_ex", "RAND_priv_bytes_ex")
_GNUTLS_DRAWS = ("gnutls_rnd",)
_OTHER_TLS = ("libnss3.", "libmbedcrypto.", "libwolfssl.", "libbotan")
_JAVA = "libjli.so"
"""What the program `java` is linked with."""
_DRAWS_FROM_PROCESSOR = re.compile(
    rb"\x0f\xc7[\xf0-\xff].{0,6}?(?:[\x72\x73]|\x0f[\x42\x43\x82\x83\x92\x93])", re.DOTALL
)
"""RDRAND or RDSEED, and soon after it a look at the carry, which tells whether there was a number."""


@dataclass(frozen=True)
class Obstacle:
    """Something in the way; `fatal`: the program cannot be followed at all, else perhaps in part."""

    why: str
    todo: str
    fatal: bool = True


_WITHOUT = 'lockstep = "off", or another program'
_PROBE = "find out: fttcp probe-server"


def obstacles(command: str, by_calls: bool = False) -> list[Obstacle]:
    """What is in the way of lock step for the server that this command line starts; what cannot be told from
    it (a shell's pipe, a program that is not there) is no obstacle. ``by_calls``: it follows calls of the C
    library (`lockstep = "calls"`), whoever makes them."""
    return list(_of_words(shlex.split(command), _DEPTH, by_calls))


def _of_words(words: Sequence[str], depth: int, by_calls: bool) -> Iterator[Obstacle]:
    """Look at what `words` start, through those that only start something else."""
    name = Path(words[0]).name if words else ""
    if depth == 0 or not name:
        return
    if name in _STARTERS:
        rest, emptied = _behind(name, words[1:])
        if emptied:
            yield Obstacle("env -i takes the library out of the server's environment", "leave -i out")
        yield from _of_words(rest, depth - 1, by_calls)
        return
    if name in _SHELLS and len(words) == 3 and words[1] == "-c":
        if not _SHELL_SIGNS & set(words[2]):
            yield from _of_words(_split(words[2]), depth - 1, by_calls)
        return
    found = shutil.which(words[0])
    if found is not None:
        yield from _of_file(Path(found), depth, by_calls)


def _split(text: str) -> list[str]:
    """The words of a text that nobody has checked; none if a quote in it has no end."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _behind(name: str, words: Sequence[str]) -> tuple[Sequence[str], bool]:
    """The command behind the options of a starter, and whether that empties the environment."""
    emptied = False
    own_words = {"env": _ASSIGNMENT, "setarch": _ARCHITECTURE}.get(name)
    while words and (words[0].startswith("-") or (own_words is not None and own_words.match(words[0]))):
        emptied |= name == "env" and words[0] in ("-i", "-", "--ignore-environment")
        words = words[2 if words[0] in _WITH_VALUE.get(name, ()) else 1 :]
    return words, emptied


def _of_file(path: Path, depth: int, by_calls: bool) -> Iterator[Obstacle]:
    try:
        with path.open("rb") as file:
            first = file.readline(256)
    except OSError as error:
        yield Obstacle(f"{path} cannot be read: {error.strerror}", "let fttcp's user read it", fatal=False)
        return
    if first.startswith(b"#!"):
        interpreter = _split(first[2:].decode(errors="replace"))
        yield from _of_words([word for word in interpreter if word != "-S"], depth - 1, by_calls)
        return
    yield from _changes_user(path)
    try:
        with Elf(path) as elf:
            yield from _of_elf(elf, by_calls)
    except ElfError as error:
        yield Obstacle(str(error), _PROBE, fatal=False)


def _changes_user(path: Path) -> Iterator[Obstacle]:
    """Programs that get rights by their file are started without preloaded libraries."""
    found = path.stat()
    by_file = (
        (found.st_mode & stat.S_ISUID and found.st_uid != os.geteuid(), "setuid"),
        (found.st_mode & stat.S_ISGID and found.st_gid != os.getegid(), "setgid"),
        (os.geteuid() != 0 and _has_capabilities(path), "given capabilities by its file"),
    )
    for is_so, what in by_file:
        if is_so:
            todo = "start it with the rights that it needs (User=, AmbientCapabilities=), and take them away"
            yield Obstacle(f"{path} is {what}: the loader ignores preloaded libraries", todo)


def _has_capabilities(path: Path) -> bool:
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
            return False
        raise


def _of_elf(elf: Elf, by_calls: bool) -> Iterator[Obstacle]:
    path = elf.path
    with own() as ours:
        if elf.form != ours.form:
            yield Obstacle(f"{path} is for another kind of processor or word length", _WITHOUT)
            return
        ours_loader = Path(ours.interpreter).name
    if _GO & elf.section_names:
        yield Obstacle(f"{path} is a Go program: it calls the kernel itself", _WITHOUT)
        return
    if not elf.interpreter:
        yield Obstacle(f"{path} is linked statically: no library can be put before its own", _WITHOUT)
        return
    if ours_loader and Path(elf.interpreter).name != ours_loader:
        why = f"{path} has another C library (its loader is {elf.interpreter}, not {ours_loader})"
        yield Obstacle(why, _WITHOUT)
        return
    if not by_calls:
        yield from _of_randomness(elf)
    if elf.runs(_DRAWS_FROM_PROCESSOR):
        why = f"{path} seems to draw random numbers from the processor (RDRAND)"
        yield Obstacle(why, f"switch that off if it has a setting for it; {_PROBE}", fatal=False)


def _of_randomness(elf: Elf) -> Iterator[Obstacle]:
    """Random numbers for TLS that do not come through calls which the library answers by connection."""
    path = elf.path
    library = next((name for name in elf.needed if name.startswith("libcrypto.so")), "")
    if library:
        found = find_library(library, elf)
        if found is not None and (inside := _keeps_calls(found, _OPENSSL_DRAWS)):
            yield Obstacle(inside, "a libcrypto that is linked without -Bsymbolic and -Bsymbolic-functions")
    elif "RAND_bytes" in elf.defined or elf.says(_OPENSSL_TEXT):
        why = f"{path} has its own OpenSSL inside: what that draws for TLS cannot be answered"
        yield Obstacle(why, f"a build that uses the system's libcrypto; {_PROBE}", fatal=False)
    for name in elf.needed:
        if name.startswith("libgnutls.so"):
            yield from _of_gnutls(name, elf)
        if name == _JAVA:
            why = f"{path} runs Java, which draws random numbers for all connections from one generator"
            yield Obstacle(why, f"TLS that ends in another program; {_PROBE}", fatal=False)
        if name.startswith(_OTHER_TLS):
            why = f"{path} uses {name}, whose random numbers are one stream for all connections"
            yield Obstacle(why, f"a build that uses OpenSSL, if it ends TLS; {_PROBE}", fatal=False)


def _of_gnutls(name: str, program: Elf) -> Iterator[Obstacle]:
    """Many programs are linked with it and end no TLS."""
    found = find_library(name, program)
    if found is not None and (inside := _keeps_calls(found, _GNUTLS_DRAWS)):
        todo = f"a GnuTLS that is linked without -Bsymbolic and -Bsymbolic-functions; {_PROBE}"
        yield Obstacle(inside, todo, fatal=False)


def _keeps_calls(library: Path, draws: Sequence[str]) -> str:
    """Why a library's own calls for random numbers cannot be answered by another one; '' if they can."""
    try:
        with Elf(library) as elf:
            kept = [name for name in draws if name in elf.defined and name not in elf.looked_up]
    except (ElfError, OSError) as error:
        return f"{library} cannot be examined: {error}"
    if kept:
        return f"{library} calls its own {kept[0]} directly (-Bsymbolic): what TLS draws cannot be answered"
    return ""


def find_library(name: str, program: Elf) -> Path | None:
    """Where the loader finds a library for a program; None if it cannot be told."""
    origin = str(program.path.resolve().parent)
    for place in program.search_path:
        path = Path(place.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)) / name
        if path.is_file():
            return path
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ldconfig is None:
        return None
    listed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        left, _, path_text = line.partition(" => ")
        if left.split()[:1] == [name] and _fits(Path(path_text), program):
            return Path(path_text)
    return None


def _fits(path: Path, program: Elf) -> bool:
    try:
        with Elf(path) as elf:
            return elf.form == program.form
    except (ElfError, OSError):
        return False
