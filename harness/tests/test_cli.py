"""The command itself."""

import os
import sys

import pytest

from bringup.harness.cli import main


def test_help_says_what_it_is_for(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capfd.readouterr().out.split())
    assert "QEMU, or one that a TOML file describes" in said and "bringup doctor" in said


@pytest.mark.parametrize(("platform", "machine"), [("darwin", "arm64"), ("linux", "aarch64"), ("freebsd14", "x86_64")])
def test_another_system_is_told_in_one_line(
    platform: str, machine: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    about = os.uname_result((platform, "host", "1", "1", machine))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "uname", lambda: about)
    status = main(["guests"])
    monkeypatch.undo()
    assert status == 1
    assert capfd.readouterr() == ("", f"bringup: runs on Linux on x86-64, and this is {platform} on {machine}\n")
