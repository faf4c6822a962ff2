"""docs/chips.md: the worked example builds and passes its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

CHIPS_MD = Path(__file__).parents[3] / "docs" / "chips.md"
FUZZ = Path(__file__).parents[1] / "fuzz"


def blocks() -> dict[str, str]:
    """The named code blocks of the page."""
    return dict(re.findall(r"^```\w+ ([\w.]+)\n(.*?)^```$", CHIPS_MD.read_text(), re.MULTILINE | re.DOTALL))


CONFTEST = """
import pytest
from cffi import FFI

@pytest.fixture(scope="session")
def ffi():
    ffi = FFI()
    ffi.cdef(open({header!r}).read())
    return ffi

@pytest.fixture(scope="session")
def lib(ffi):
    return ffi.dlopen({library!r})
"""


def fuzz(chips: SimpleNamespace, folder: Path) -> None:
    """The row, in the table of the fuzzed chips, and some thousand inputs."""
    text = (FUZZ / "chips.c").read_text()
    table = text.index("#define CHIPS(CHIP)")
    row = (folder / "watchdog.row").read_text().replace("\n", "\\\n")
    at = text.index("\n", table) + 1
    source = folder / "fuzzed.c"
    source.write_text('#include "watchdog.h"\n' + text[:at] + row + text[at:])
    sources = [str(source), str(folder / "watchdog.c"), str(FUZZ / "driver.c"), *chips.sources]
    program = folder / "fuzzed"
    include = [f"-I{folder}", f"-I{FUZZ}", f"-I{FUZZ.parents[1] / 'core'}"]
    subprocess.run([*chips.compiler, *include, *chips.flags, "-O1", "-o", str(program), *sources], check=True)
    environment = {**os.environ, "LD_PRELOAD": "", "FUZZ_CHIP": "watchdog"}
    run = subprocess.run([program, "3000"], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_worked_example(chips: SimpleNamespace, tmp_path: Path) -> None:
    for name, text in blocks().items():
        (tmp_path / name).write_text(text)
    header, library = tmp_path / "expanded.h", tmp_path / "watchdog.so"
    header.write_text(chips.expand([tmp_path / "watchdog.h"], tmp_path))
    sources = [str(tmp_path / "watchdog.c"), *(path for path in chips.sources if path.endswith("/fields.c"))]
    subprocess.run([*chips.compiler, *chips.flags, "-shared", "-o", str(library), *sources], check=True)
    fuzz(chips, tmp_path)
    (tmp_path / "conftest.py").write_text(CONFTEST.format(header=str(header), library=str(library)))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull,
         "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "6 passed" in run.stdout
