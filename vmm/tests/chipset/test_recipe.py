"""docs/chips.md: the worked example builds and passes its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

CHIPS_MD = Path(__file__).parents[3] / "docs" / "chips.md"


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


def test_worked_example(chips: SimpleNamespace, tmp_path: Path) -> None:
    for name, text in blocks().items():
        (tmp_path / name).write_text(text)
    header, library = tmp_path / "expanded.h", tmp_path / "watchdog.so"
    header.write_text(chips.expand([tmp_path / "watchdog.h"], tmp_path))
    sources = [str(tmp_path / "watchdog.c"), *(path for path in chips.sources if path.endswith("/fields.c"))]
    subprocess.run([*chips.compiler, *chips.flags, "-shared", "-o", str(library), *sources], check=True)
    (tmp_path / "conftest.py").write_text(CONFTEST.format(header=str(header), library=str(library)))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull,
         "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert "6 passed" in run.stdout
