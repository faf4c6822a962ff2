"""A hostile guest, with the sanitizers watching."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ACCESSES = 400_000


@pytest.fixture(scope="module")
def hostile(chips: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("hostile") / "hostile"
    subprocess.run(
        [*chips.compiler, *chips.flags, *chips.sanitizers, "-o", str(program),
         str(Path(__file__).parent / "hostile.c"), *chips.sources],
        check=True,
    )  # fmt: skip
    return program


@pytest.mark.parametrize("seed", range(1, 9))
def test_random_accesses(hostile: Path, seed: int) -> None:
    environment = {**os.environ, "LD_PRELOAD": ""}
    runs = [
        subprocess.run(
            [str(hostile), str(seed), str(ACCESSES)], capture_output=True, text=True, env=environment, check=False
        )
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout  # nothing but the accesses decides
