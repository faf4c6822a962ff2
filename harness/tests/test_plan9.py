"""Plan 9 by multiboot, its kernel the user's: booted to rc where it is, else skipped with the reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bringup.guests import loader
from bringup.guests.definition import UserFile
from bringup.harness.attempt import Attempt
from bringup.harness.limits import Scale
from bringup.harness.media.resolve import Media, MediaMissing, WrongContentError
from bringup.harness.media.store import Store
from bringup.harness.outcome import Outcome
from bringup.harness.session import Session, create_run
from bringup.harness.vmms import loader as vmms

GUESTS = ["9front", "9front-386"]
GIVEN = os.environ.get("BRINGUP_MEDIA", "")


def kernel(name: str) -> str:
    """What its file is called."""
    medium = loader.load(name).definition.media["kernel"]
    assert isinstance(medium, UserFile) and medium.sha256
    return medium.file


def attempt(folder: Path, name: str, vmm: str) -> Attempt:
    session = Session(create_run(folder / "out"), command=("test",), scale=Scale())
    return Attempt(session, loader.load(name), vmms.load(vmm), Media(Store(folder / "store"), offline=True))


@pytest.mark.parametrize("name", GUESTS)
def test_without_its_kernel_it_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("BRINGUP_MEDIA", str(tmp_path))
    it = attempt(tmp_path, name, "bringup")
    with (
        pytest.raises(MediaMissing, match=f"no {kernel(name)} beside the guest's file or in a folder of BRINGUP_MEDIA"),
        it,
    ):
        it.boot()
    assert it.verdict.outcome is Outcome.SKIPPED


@pytest.mark.parametrize("name", GUESTS)
def test_another_kernel_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("BRINGUP_MEDIA", str(tmp_path))
    (tmp_path / kernel(name)).write_bytes(b"another")
    it = attempt(tmp_path, name, "bringup")
    with pytest.raises(WrongContentError, match=f"{kernel(name)}: sha256 is [0-9a-f]{{64}}, not "), it:
        it.boot()
    assert it.verdict.outcome is Outcome.ERROR


@pytest.mark.parametrize("vmm", ["bringup", "qemu"])
def test_to_its_shell(tmp_path: Path, vmm: str) -> None:
    """Banner, memory, bootargs, and rc that answers: the ladder's fourth rung of seven."""
    if not any((Path(folder) / kernel("9front")).is_file() for folder in GIVEN.split(os.pathsep) if folder):
        pytest.skip(f"no {kernel('9front')} in a folder of BRINGUP_MEDIA")
    if vmm == "qemu" and shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed")
    with attempt(tmp_path, "9front", vmm) as it:
        it.boot()
        it.climb(until="shell")
    assert [rung.id for rung in it.way.reached] == ["banner", "memory", "bootargs", "shell"]
