"""The fuzz targets, as far as that is quick: their inputs, and that they are C."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fuzz.__main__ import CORE, HERE, TARGETS, configuration, corpus


def test_the_corpus() -> None:
    found = corpus()
    assert set(found) == set(TARGETS)
    for name, inputs in found.items():
        labels = [label for label, _ in inputs]
        fewest, shortest = {"decode": (30, 4), "step": (30, 35), "ide": (30, 4)}.get(name, (4, 1))
        assert len(labels) == len(set(labels)) >= fewest, name
        assert all(shortest <= len(data) <= 546 for _, data in inputs), name
    assert len(configuration()) > 1000


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_compiles_without_warnings(name: str, tmp_path: Path) -> None:
    source = HERE / f"{name}.c"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", f"-I{CORE}"]
    subprocess.run(["gcc", *flags, "-c", "-o", tmp_path / f"{name}.o", source], check=True)
