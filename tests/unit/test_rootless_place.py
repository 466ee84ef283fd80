"""Where labs of whoever is not root are: in a directory of their own, or nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.rootless import _take_place


def test_it_is_made_and_taken_again(tmp_path: Path) -> None:
    """The first use makes it, for this user to write only."""
    labs = tmp_path / "labs"
    _take_place(labs)
    _take_place(labs)
    assert not labs.stat().st_mode & 0o022


def _of_another_user(labs: Path) -> None:
    labs.mkdir()
    os.chown(labs, 65534, 65534)


def _link(labs: Path) -> None:
    labs.with_name("elsewhere").mkdir()
    labs.symlink_to("elsewhere")


@pytest.mark.parametrize("prepare", [_of_another_user, _link, Path.touch])
def test_what_another_user_may_have_made_is_refused(prepare: Callable[[Path], None], tmp_path: Path) -> None:
    """What is there by that name is not believed."""
    labs = tmp_path / "labs"
    prepare(labs)
    with pytest.raises(LabError, match="not this user's directory"):
        _take_place(labs)
