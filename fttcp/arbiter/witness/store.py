"""Where the witness keeps its registers: one SQLite file, durable against kill -9 and loss of power.

The journal is a write-ahead log with ``synchronous=FULL``: SQLite then syncs the log at each commit, before
COMMIT returns (sqlite.org/pragma.html#pragma_synchronous), and a torn tail fails its checksums and is
ignored at the next open. With the default rollback journal, FULL would not be enough: a commit is the
removal of the journal there, and the directory is not synced afterwards, so that a loss of power can
bring the old record back. ``locking_mode=EXCLUSIVE`` keeps a second witness off the file, and the log's
index in memory.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import TypeVar

import msgspec

from fttcp.ownership.members import Members
from fttcp.ownership.ownership import Record
from fttcp.wire.files import sync_directory

_APPLICATION_ID = 0x46545457  # "FTTW"
_SCHEMA_VERSION = 2
_MEMBERS = "CREATE TABLE members (cluster TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;"
_PRAGMAS = ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF")

_Kind = TypeVar("_Kind", Record, Members)

Register = tuple[str, str]
"""Cluster and group."""


class StoreError(Exception):
    """The file will not serve; the sentence says what to do."""


class Store:
    """The registers on stable storage. ``put`` may be called in another thread."""

    def __init__(self, path: Path) -> None:
        """Open the file that ``create`` made. Raises StoreError."""
        if not path.exists():
            raise StoreError(
                f"{path}: no data file. A lost one must not be replaced while nodes run: what it knew "
                "would be owned twice. For a new witness, or when all nodes are stopped: "
                "fttcp witness --init"
            )
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = _open(path)
            self._check()
        except sqlite3.Error as error:
            raise StoreError(_sentence(path, error)) from error

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty file. Raises StoreError if there is one."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            db = _open(path)
            db.executescript(
                f"BEGIN; PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_SCHEMA_VERSION};"
                "CREATE TABLE register (cluster TEXT, name TEXT, record TEXT NOT NULL,"
                f" PRIMARY KEY (cluster, name)) WITHOUT ROWID; {_MEMBERS} COMMIT"
            )
            db.close()
            sync_directory(path.parent)
        except FileExistsError as error:
            raise StoreError(f"{path}: exists already; it is never overwritten") from error
        except OSError as error:
            raise StoreError(f"{path}: cannot be made: {error.strerror}") from error
        except sqlite3.Error as error:
            raise StoreError(_sentence(path, error)) from error

    def load(self) -> dict[Register, Record]:
        """Return every register. Raises StoreError."""
        rows = self._query("SELECT cluster, name, record FROM register", ())
        return {(cluster, name): self._decode(text, Record) for cluster, name, text in rows}

    def get(self, register: Register) -> Record | None:
        """Return one register's record. Raises StoreError."""
        rows = self._query("SELECT record FROM register WHERE cluster=? AND name=?", register)
        return self._decode(rows[0][0], Record) if rows else None

    def put(self, register: Register, record: Record) -> None:
        """Write one record; it is on stable storage when this returns. Raises StoreError: then the old
        record or the new one stands."""
        self._write("INSERT OR REPLACE INTO register VALUES (?, ?, ?)", (*register, record))

    def load_members(self) -> dict[str, Members]:
        """Return the nodes of every cluster. Raises StoreError."""
        rows = self._query("SELECT cluster, record FROM members", ())
        return {cluster: self._decode(text, Members) for cluster, text in rows}

    def put_members(self, cluster: str, members: Members) -> None:
        """Write the nodes of a cluster; see ``put``."""
        self._write("INSERT OR REPLACE INTO members VALUES (?, ?)", (cluster, members))

    def close(self) -> None:
        """Fold the log into the file and close it."""
        with self._lock:
            self._db.close()

    def _query(self, text: str, values: tuple[str, ...]) -> list[tuple[str, ...]]:
        try:
            with self._lock:
                return self._db.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(_sentence(self._path, error)) from error

    def _write(self, statement: str, values: tuple[str | Record | Members, ...]) -> None:
        texts = [one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in values]
        try:
            with self._lock:
                self._db.execute(statement, texts)
        except sqlite3.Error as error:
            raise StoreError(_sentence(self._path, error)) from error

    def _decode(self, text: str, kind: type[_Kind]) -> _Kind:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self._path}: holds what is no record: {text!r:.200}: {error}") from error

    def _check(self) -> None:
        identity = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if (identity, version) == (_APPLICATION_ID, 1):  # of a release that had no record of nodes
            self._db.executescript(f"BEGIN; {_MEMBERS} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT")
            version = _SCHEMA_VERSION
        if (identity, version) != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise StoreError(
                f"{self._path}: not a witness's data file of version {_SCHEMA_VERSION} "
                f"(application id {identity:#x}, version {version}): check data_file, run the release that "
                "made it"
            )
        found = self._db.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{self._path}: damaged: {found}: stop all nodes, remove it, --init a new one")


def _open(path: Path) -> sqlite3.Connection:
    """Open with autocommit: every statement is a transaction of its own."""
    db = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
    for pragma in _PRAGMAS:
        db.execute(f"PRAGMA {pragma}").fetchall()
    mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path}: the file system does not allow a write-ahead log (journal mode {mode})")
    return db


def _sentence(path: Path, error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return f"{path}: in use by another witness: stop that one, or use another data_file"
    return f"{path}: {error}: look at the disk (full? failing?) and at the file's owner"
