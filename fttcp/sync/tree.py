"""A directory of this host: listed, and changed as a plan says. Nothing outside it is ever touched: no
component of a path that is a symbolic link is followed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from fttcp.sync.versions import Tree, Version, kept_name

PARTIAL = ".fttcp-partial"
"""Where rsync leaves what of a file has come when it is interrupted."""
_OWN = ".fttcp-"
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}


class TreeError(Exception):
    """The directory cannot be worked with; the sentence says what to do."""


class Directory:
    """One configured directory of this host."""

    def __init__(self, path: Path, exclude: Sequence[str]) -> None:
        """``exclude``: patterns of a shell, of names or, with a `/`, of paths below the directory."""
        self.path, self.exclude = path, exclude

    def and_excluding(self, exclude: Sequence[str]) -> Directory:
        """Return the same directory without what another node excludes: nobody copies that."""
        return Directory(self.path, [*self.exclude, *exclude])

    def begin(self, driver: str) -> None:
        """Make room for the files that come, by the name of the node that copies; whatever had its name goes.
        Raises TreeError."""
        room = self.temporary(driver).name
        try:
            with self._opened() as handle:
                _clear(handle, room)
                os.mkdir(room, mode=0o700, dir_fd=handle)
        except (OSError, RecursionError) as error:
            raise TreeError(
                f"{self.path}: {room}: {_why(error)}: make the directory; give root the right to write; "
                f"remove {room}"
            ) from error

    def end(self, driver: str, good: bool) -> None:
        """Clean up. ``good``: both are the same, so parts of files that copies have left, when they were
        interrupted, are of no use any more. Raises TreeError."""
        try:
            with self._opened() as handle:
                _clear(handle, self.temporary(driver).name)
            if not good:
                return
            for _, folders, _, handle in os.fwalk(self.path):
                if PARTIAL in folders:
                    folders.remove(PARTIAL)
                    _clear(handle, PARTIAL)
        except (OSError, RecursionError) as error:
            raise TreeError(
                f"{self.path}: what copies have left cannot be removed: {_why(error)}: "
                f"remove what begins with {_OWN}"
            ) from error

    @contextmanager
    def _opened(self) -> Iterator[int]:
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)

    def temporary(self, driver: str) -> Path:
        """Return where rsync writes what is not complete."""
        return self.path / f"{_OWN}temp-{driver}"

    def listed(self) -> dict[str, Version]:
        """Return what there is: files, directories and links. Raises TreeError."""
        found: dict[str, Version] = {}
        try:
            self._list(str(self.path), "", found)
        except OSError as error:
            raise TreeError(f"{error.filename}: {error.strerror}") from error
        return found

    def _list(self, place: str, prefix: str, found: dict[str, Version]) -> None:
        folders = [(place, prefix)]
        while folders:
            place, prefix = folders.pop()
            try:
                entries = list(os.scandir(place))
            except FileNotFoundError:
                if not prefix:
                    raise
                continue  # it has gone while we looked
            for entry in entries:
                path = prefix + entry.name
                if entry.name.startswith(_OWN) or self._excludes(entry.name, path):
                    continue
                version = _version(entry)
                if version is not None:
                    found[path] = version
                    if version.kind == "dir":
                        folders.append((entry.path, path + "/"))

    def _excludes(self, name: str, path: str) -> bool:
        return any(fnmatchcase(path if "/" in one else name, one.strip("/")) for one in self.exclude)

    def remove(self, paths: Sequence[str], listed: Tree) -> int:
        """Delete what is still as it was listed; return how many. Deeper ones come first."""
        removed = 0
        for path in paths:
            with self._parent(path) as (folder, name):
                removed += _remove(folder, name, path, listed[path])
        return removed

    def keep(self, paths: Sequence[str], host: str, listed: Tree) -> list[str]:
        """Give versions that lose a second name; return the names, as paths."""
        kept = []
        for path in paths:
            with self._parent(path) as (folder, name):
                kept.append(_second_name(folder, name, path, host, listed[path]))
        return kept

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the directory that a path lies in. Raises TreeError if it is not there, or a link."""
        *folders, name = path.split("/")
        if not name or {"", ".", ".."} & {*folders, name}:
            raise TreeError(f"{path!r} is no path below {self.path}")
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            handle = os.open(self.path, flags)
            for folder in folders:
                outer = handle
                try:
                    handle = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=outer)
                finally:
                    os.close(outer)
        except OSError as error:
            raise TreeError(
                f"{self.path / path}: {error.strerror}: it changed while it was copied"
            ) from error
        try:
            yield handle, name
        finally:
            os.close(handle)


def _clear(folder: int, name: str) -> None:
    """Remove a directory with all that is in it, or a file or link of its name; follow no link. Raises
    OSError, RecursionError."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=folder)


def _why(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _remove(folder: int, name: str, path: str, listed: Version) -> bool:
    try:
        if listed.kind == "dir":
            os.rmdir(name, dir_fd=folder)
            return True
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ctime_ns != listed.ctime_ns:
            return False
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            return False  # gone already, or something is in it that nobody has listed
        raise TreeError(f"{path}: cannot be removed: {error.strerror}") from error
    return True


def _version(entry: os.DirEntry[str]) -> Version | None:
    """Return None for what is not copied (sockets, devices), and what has gone while we looked."""
    try:
        found = entry.stat(follow_symlinks=False)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        target = str(Path(entry.path).readlink()) if kind == "link" else ""
    except FileNotFoundError:
        return None
    if kind is None:
        return None
    size, mtime_ns = (found.st_size, found.st_mtime_ns) if kind != "dir" else (0, 0)
    mode = stat.S_IMODE(found.st_mode)
    return Version(kind, size, mtime_ns, mode, found.st_uid, found.st_gid, target, found.st_ctime_ns)


def _second_name(folder: int, name: str, path: str, host: str, version: Version) -> str:
    number = 1
    while True:
        kept = kept_name(path, host, version, number)
        last = kept.rpartition("/")[2]
        try:
            os.link(name, last, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            there = os.stat(last, dir_fd=folder, follow_symlinks=False)
            if os.path.samestat(there, os.stat(name, dir_fd=folder, follow_symlinks=False)):
                return kept  # by a run that was killed
            number += 1
        except OSError as error:
            raise TreeError(f"{path}: its version cannot be kept as {last}: {error.strerror}") from error
        else:
            return kept
