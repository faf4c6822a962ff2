"""The command, on images of our own."""

import argparse
from pathlib import Path

import pytest
import tiny

from bringup.conformance.kvm_unit_tests import cli
from bringup.conformance.kvm_unit_tests.suite import SuiteError
from bringup.harness.errors import HarnessError
from bringup.harness.page import BEGIN, END

ORIGIN = 0x100000
EXIT = """
.intel_syntax noprefix
.code32
    .long 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000), {origin}, {origin}, 0, 0, {origin} + 32
    mov eax, {code}
    out 0xf4, eax
"""


def image(code: int) -> bytes:
    return tiny.assemble(EXIT.format(code=code, origin=ORIGIN), origin=ORIGIN)


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.register(parser.add_subparsers())
    return parser.parse_args(["kvm-unit-tests", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "i386").mkdir()
    (tmp_path / "i386" / "smap.flat").write_bytes(image(0))
    (tmp_path / "i386" / "umip.flat").write_bytes(image(1))
    return tmp_path


def test_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    asked = options("i386/smap", "i386/umip", f"--folder={folder}", "--no-qemu", f"--write={page}")
    assert cli.handle(asked) == 1
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["vtx", "bare"]
    assert lines[1][:2] == ["i386/smap", "pass"]
    assert lines[2][:2] == ["i386/umip", "fail"]
    assert said.err == "bringup: i386/umip did not come out as suite.toml says\n"
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}after\n")
    assert "| i386/smap | pass | pass |  |\n| i386/umip | fail | fail |  |" in text
    assert "old" not in text


def test_all_as_expected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.handle(options("i386/smap", f"--folder={folder}", "--no-qemu", "--accel=bare")) == 0
    assert capsys.readouterr().err == ""


def test_what_cannot_be_run(folder: Path) -> None:
    with pytest.raises(SuiteError, match="there is no test 'smep'; there are smptest"):
        cli.handle(options("smep", f"--folder={folder}"))
    with pytest.raises(SuiteError, match="x86_64/smap: there is no image"):
        cli.handle(options("x86_64/smap", f"--folder={folder}", "--no-qemu"))
    (folder / "page.md").write_text(END + BEGIN)
    for page, complaint in (("page.md", "it has no lines '<!-- table -->'"), ("none.md", "No such file")):
        with pytest.raises(HarnessError, match=complaint):
            cli.handle(options("i386/smap", f"--folder={folder}", "--no-qemu", f"--write={folder / page}"))


@pytest.mark.parametrize("jobs", ["0", "two", "-1"])
def test_bad_numbers_of_jobs(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(f"--jobs={jobs}")
    assert "is not a whole number from 1 to 1000" in capsys.readouterr().err
