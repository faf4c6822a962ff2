"""The command line."""

import argparse
import shutil
import sys
from pathlib import Path

import pytest

from bringup.conformance.perf import cli, record
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.process import Process


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.register(parser.add_subparsers())
    return parser.parse_args(["perf", *arguments])


def test_defaults() -> None:
    found = options()
    assert found.pairs == 9
    assert found.rows == ["boot", "crc", "call", "movs", "sse2", "x87", "syscall", "start", "memory"]
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
