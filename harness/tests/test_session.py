"""Runs: their folders, what is kept of them, and what a session records."""

from __future__ import annotations

from pathlib import Path

import pytest

from bringup.harness import session
from bringup.harness.errors import HarnessError
from bringup.harness.limits import Scale
from bringup.harness.records.schema import Finish, Run
from bringup.harness.records.writer import SUFFIX, RecordWriter, read_run
from bringup.harness.session import LATEST, Session, create_run, sweep


def test_a_session_begins_and_finishes(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "out")
    Session(folder, ("bringup", "boot"), scale=Scale(2.0), seed=7).finish(1, interrupted=True)
    first, last = read_run(folder)
    assert isinstance(first, Run) and isinstance(last, Finish)
    assert (first.run, first.version, first.command, first.seed) == (folder.name, 0, ("bringup", "boot"), 7)
    assert first.host.cpus > 0 and first.host.memory > 1 << 20 and first.host.scale == 2.0
    assert (last.status, last.interrupted) == (1, True)


def test_a_worker_writes_a_file_of_its_own(tmp_path: Path) -> None:
    folder = create_run(tmp_path)
    Session(folder, (), worker="gw1", scale=Scale()).finish(0)
    assert [path.name for path in folder.iterdir()] == [f"gw1{SUFFIX}"]
    first, last = read_run(folder)
    assert isinstance(first, Run) and first.worker == "gw1" and isinstance(last, Finish)


def test_old_runs_go_and_living_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"20260101-00000{n}-00000{n}" for n in range(6)]
    monkeypatch.setattr(session, "new_run_id", iter(names).__next__)
    folders = [create_run(tmp_path, keep=10) for _ in range(5)]
    (tmp_path / "mine").mkdir()
    with RecordWriter(folders[1] / f"gw0{SUFFIX}"):
        newest = create_run(tmp_path, keep=2)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()} == {
        names[1], names[4], names[5], "mine",
    }  # fmt: skip
    assert (tmp_path / LATEST).resolve() == newest.resolve()
    assert sweep(tmp_path, 2) == [folders[1]]


def test_git_passes_the_output_folder_by(tmp_path: Path) -> None:
    create_run(tmp_path / "out")
    assert (tmp_path / "out" / ".gitignore").read_text() == "*\n"


def test_a_folder_that_is_called_latest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / LATEST).mkdir()
    create_run(tmp_path)
    assert not (tmp_path / LATEST).is_symlink()


def test_an_output_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(HarnessError, match=r"^output folder .*out: "):
        create_run(tmp_path / "out")
