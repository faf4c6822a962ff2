"""The fuzz targets, as far as that is quick: their inputs, that they are C, a short run of all but the processor's."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fuzz import pure
from fuzz.__main__ import CORE, FOLDERS, HERE, TARGETS, configuration, corpus
from fuzz.damage import Base, Input, damaged, fields, mutations

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
    done = run(programs, name, RUNS // 10 if name in ("vga", "testdev", "board") else RUNS, *sorted(tmp_path.iterdir()))
    assert done.returncode == 0, done.stderr


def test_a_chip_that_is_none(programs: Path) -> None:
    done = run(programs, "parallel", 1)
    assert done.returncode == 0
    environment = {**os.environ, "LD_PRELOAD": "", "FUZZ_CHIP": "abacus"}
    done = subprocess.run([programs / "chips", "1"], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (2, "FUZZ_CHIP names no chip\n")


# ---- those in Python ----


@pytest.mark.parametrize("name", pure.TARGETS)
def test_a_short_run_in_python(name: str) -> None:
    """From a fixed seed, in bounded memory: a process of its own."""
    environment = {**os.environ, "LD_PRELOAD": "", "PYTHONPATH": str(HERE.parent)}
    runs = RUNS // 6 if name == "identification" else RUNS // 2  # a large kernel is looked through
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.pure", name, str(runs)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_found_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def target(data: bytes) -> None:
        assert len(data) < 40, "too long"

    monkeypatch.setattr(pure, "load", lambda name: target)
    with pytest.raises(AssertionError, match="too long"):
        pure.run("drives", 1000)
    (line,) = capsys.readouterr().err.splitlines()
    found = re.fullmatch(r"fuzz: drives failed on ([0-9a-f]{80,})", line)
    assert found and bytes.fromhex(found[1]) in list(mutations(1, 1000, []))


def test_damage() -> None:
    base = Base(bytes(range(16)), fields(2, 4), "big")

    def after(*program: int) -> bytes:
        return damaged(base, Input(bytes(program))).content

    assert after() == base.content
    assert after(0, 0, 0, 2, 3) == bytes(range(4)) + b"\xff\xfc" + bytes(range(6, 16))
    assert after(210, 5, 0, 0) == bytes(range(5))
    assert after(230, 5, 0) == base.content + bytes(5)
    assert after(240, 0, 0, 9, 0, 0) == bytes(range(4)) + b"\x09\x0a" + bytes(range(6, 16))
    assert damaged(base, Input(bytes([236, 40]))) == (base.content, 1 << 40)
    assert damaged(base, Input(bytes([236, 2]))) == (base.content, 16)
