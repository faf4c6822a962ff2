"""The fuzz targets, as far as that is quick: their inputs, that they are C, and a short run of those of the chips."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fuzz.__main__ import CORE, FOLDERS, HERE, TARGETS, configuration, corpus

FLAGS = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", f"-I{CORE}"]
SANITIZERS = ["-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
CHIPS = [name for name, source in TARGETS.items() if FOLDERS[source] == "chipset"]
RUNS = 3000


def test_the_corpus() -> None:
    found = corpus()
    assert set(found) == set(TARGETS)
    for name, inputs in found.items():
        labels = [label for label, _ in inputs]
        fewest, shortest = {"decode": (30, 4), "step": (30, 35), "ide": (30, 4)}.get(name, (4, 1))
        fewest = 0 if TARGETS[name] == "chips" else fewest  # a new chip's row is enough
        assert len(labels) == len(set(labels)) >= fewest, name
        assert all(shortest <= len(data) <= 546 for _, data in inputs), name
    assert len(configuration()) > 1000


@pytest.mark.parametrize("source", FOLDERS)
def test_a_target_compiles_without_warnings(source: str, tmp_path: Path) -> None:
    subprocess.run(["gcc", *FLAGS, "-c", "-o", tmp_path / f"{source}.o", HERE / f"{source}.c"], check=True)


def test_every_chip_has_a_target() -> None:
    """Of those that the board has: a row of chips.c, or a source of its own."""
    state = (CORE / "chipset" / "chips.h").read_text()
    chips = set(re.findall(r"PART\(owner, (\w+),", state))
    assert len(chips) > 20
    assert not chips - set(TARGETS)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with the chips' targets under the sanitizers, each with the driver; once for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "fuzz"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _build(folder)
            (folder / "done").touch()
    return folder


def _build(folder: Path) -> None:
    targets = [HERE / f"{source}.c" for source, part in FOLDERS.items() if part == "chipset"]
    sources = [*sorted((CORE / "chipset").glob("*.c")), HERE / "driver.c", *targets]

    def compile_one(source: Path) -> Path:
        made = folder / f"{source.parent.name}-{source.stem}.o"
        subprocess.run(["gcc", *FLAGS, *SANITIZERS, "-c", "-o", made, source], check=True)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(compile_one, sources))
    shared = made[: -len(targets)]
    for source, target in zip(targets, made[-len(targets) :], strict=True):
        subprocess.run(["gcc", *SANITIZERS, "-o", folder / source.stem, target, *shared], check=True)


def run(programs: Path, name: str, runs: int, *inputs: Path) -> subprocess.CompletedProcess[str]:
    # A preloaded sanitizer of another build would not be the program's own.
    environment = {**os.environ, "LD_PRELOAD": "", "FUZZ_CHIP": name}
    return subprocess.run(
        [programs / TARGETS[name], str(runs), *inputs], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("name", CHIPS)
def test_a_short_run_of_a_chip(programs: Path, name: str, tmp_path: Path) -> None:
    """Its inputs, and what a fixed seed makes of them: the same every time."""
    for label, data in corpus()[name]:
        (tmp_path / label).write_bytes(data)
    done = run(programs, name, RUNS // 10 if name in ("vga", "testdev") else RUNS, *sorted(tmp_path.iterdir()))
    assert done.returncode == 0, done.stderr


def test_a_chip_that_is_none(programs: Path) -> None:
    done = run(programs, "parallel", 1)
    assert done.returncode == 0
    environment = {**os.environ, "LD_PRELOAD": "", "FUZZ_CHIP": "abacus"}
    done = subprocess.run([programs / "chips", "1"], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (2, "FUZZ_CHIP names no chip\n")
