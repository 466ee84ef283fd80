"""What is kept of maintenance over a restart."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from fttcp.node.maintenance import MaintenanceFile


def test_counts_are_kept_for_each_group(tmp_path: Path) -> None:
    file = MaintenanceFile(tmp_path / "state")
    assert file.load("web") == 0
    file.save("web", 1)
    file.save("mail", 4)
    assert MaintenanceFile(tmp_path / "state").load("web") == 1 and file.load("mail") == 4


def test_a_count_outlives_a_crash_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()))
    MaintenanceFile(tmp_path).save("web", 1)
    assert synced == [tmp_path / "maintenance.new", tmp_path]


@pytest.mark.parametrize("text", ["{", "[]", '{"web": -1}', '{"web": "x"}'])
def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "maintenance.json").write_text(text)
    with pytest.raises(OSError, match=r"maintenance\.json.*remove"):
        MaintenanceFile(tmp_path).load("web")


def test_groups_that_are_paused_at_once_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is stored by a thread of its own, into one file."""
    file, names = MaintenanceFile(tmp_path), [f"group{n}" for n in range(4)]
    together = threading.Barrier(len(names))
    read = MaintenanceFile._read

    def read_together(self: MaintenanceFile) -> dict[str, object]:
        counts = read(self)
        with suppress(threading.BrokenBarrierError):  # one after the other, as it should be
            together.wait(0.05)
        return counts

    monkeypatch.setattr(MaintenanceFile, "_read", read_together)
    threads = [threading.Thread(target=file.save, args=(name, 1)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert [file.load(name) for name in names] == [1] * len(names)
