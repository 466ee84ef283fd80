"""What is kept of maintenance over a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fttcp.runtime.maintenance import MaintenanceFile


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
