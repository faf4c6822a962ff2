"""The command line."""

import argparse
import shutil
import sys
from pathlib import Path

import pytest

from bringup.conformance.perf import cli, measure, record
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.process import Process
from bringup.harness.media.store import WrongContentError


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.register(parser.add_subparsers())
    return parser.parse_args(["perf", *arguments])


def test_defaults() -> None:
    found = options()
    assert found.pairs == 9
    linux = ["boot", "crc", "call", "movs", "sse2", "x87", "syscall"]
    assert found.rows == [*linux, "bios", "openbsd28", "9front", "dma", "pio", "scroll", "start", "memory"]
    assert found.write is None
    assert found.handler is cli.handle


def test_rows_are_in_the_order_of_the_table() -> None:
    assert options("--rows", "memory,x87,boot").rows == ["boot", "x87", "memory"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "boot,crq"], "there is no row 'crq'; there are boot, crc"),
        (["--rows", ""], "there is no row ''"),
        (["--pairs", "0"], "'0' is not a whole number from 1 to 1000"),
        (["--pairs", "nine"], "'nine' is not"),
        (["--vmm-only", "xen"], "invalid choice: 'xen'"),
        (["--perf-record", "start"], "invalid choice: 'start'"),
    ],
)
def test_bad_values(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        options(*arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match=r"^--write .*page\.md: there is no folder "):
        cli.handle(options("--write", str(tmp_path / "docs" / "page.md")))


def test_a_kernel_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"hello")
    with pytest.raises(PerfError, match="not a Linux bzImage"):
        cli.handle(options("--kernel", str(tmp_path / "kernel")))


@pytest.fixture
def no_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRINGUP_MEDIA", str(tmp_path))
    monkeypatch.setenv("BRINGUP_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("no_media")
def test_rows_without_media_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PerfError, match=r"^nothing is left to measure$"):
        cli.handle(options("--rows", "openbsd28,9front,bios,dma", "--vmm-only", "bringup"))
    board, *guests = capsys.readouterr().err.splitlines()
    assert board.startswith("bios, dma: left out: ")
    assert [line.partition(" beside ")[0] for line in guests] == [
        "openbsd28: left out: floppy of openbsd28-serial: no openbsd28-floppy.img",
        "9front: left out: kernel of 9front: no 9front-9pc64",
    ]


@pytest.mark.usefixtures("no_media")
def test_a_medium_that_is_another_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "openbsd28-floppy.img").write_bytes(b"NetBSD")
    with pytest.raises(WrongContentError, match=r"openbsd28-floppy.img: sha256 is "):
        cli.handle(options("--rows", "openbsd28", "--vmm-only", "bringup"))


@pytest.mark.usefixtures("no_media")
def test_what_is_left_out_is_in_the_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure, "first_instruction", lambda vmm: 0.25)
    assert cli.handle(options("--rows", "9front,start", "--vmm-only", "bringup", "--pairs", "1")) == 0
    output = capsys.readouterr().out
    assert "- 9front: left out: kernel of 9front: no 9front-9pc64" in output
    assert "0.250 (0.250 to 0.250)" in output
    assert "guest with" not in output


def test_no_perf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PerfError, match="perf is not installed"):
        record.Recorder(tmp_path / "data").start(1)


@pytest.mark.skipif(shutil.which("perf") is None, reason="perf is not installed")
def test_recording_a_process_that_is_gone(tmp_path: Path) -> None:
    with Process("vmm", [sys.executable, "-c", ""], 60) as process:
        process.wait()
    with pytest.raises(PerfError, match=r"^perf record: "):
        record.Recorder(tmp_path / "data").start(process.pid)
