"""One instruction on our interpreter and on the host's processor, with the same operands: plan, report, shrink.

The cases are made, run and compared by a program in C (oracle.h says what passes between it and this module).
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cffi import FFI

from bringup.vmm import cpumodel
from bringup.vmm.core import _core

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "core"
PROCESSOR = [*sorted((CORE / "processor").glob("*.c")), CORE / "chipset" / "snapshot.c"]
COMPILER = shlex.split(os.environ.get("CC", "gcc"))
# As the product's build.py: the interpreter's handlers must be optimised, and nothing may live below the stack pointer.
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fno-strict-aliasing", "-mno-red-zone", "-fcf-protection=none"]
# The host's side maps pages below 4 GiB, where only a position-independent program has none.
LINK = ["-fpie", "-pie"]


class OracleUnavailable(Exception):
    """This host cannot be asked; the text says why."""


@cache
def types() -> FFI:
    """The structures of oracle.h."""
    text = (HERE / "oracle.h").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("#include", "#ifndef", "#endif"))]
    ffi = FFI()
    ffi.cdef("\n".join(line for line in lines if line != "#define BRINGUP_ORACLE_H"))
    return ffi


def compile_all(sources: list[Path], folder: Path) -> list[str]:
    """Objects in `folder`, by all cores."""

    def compile_one(source: Path) -> str:
        target = str(folder / f"{source.parent.name}-{source.stem}.o")
        subprocess.run([*COMPILER, *FLAGS, f"-I{CORE}", "-fpie", "-c", "-o", target, str(source)], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, sources))


def build(program: Path, sources: Path = HERE, shared: Iterable[Path] = ()) -> None:
    """Makes a program of the C files in `sources` and of `shared` ones with the processor's, once for all who ask for
    the same path; the processor is compiled once for all programs of a folder."""
    with (program.parent / "programs.lock").open("w") as lock, TemporaryDirectory() as name:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return
        processor, folder = program.parent / "processor.a", Path(name)
        if not processor.exists():
            objects = compile_all(PROCESSOR, folder)
            subprocess.run(["ar", "rc", str(folder / "processor.a"), *objects], check=True)
            shutil.move(folder / "processor.a", processor)
        objects = compile_all([*sorted(sources.glob("*.c")), *shared], folder)
        made = folder / "program"
        subprocess.run([*COMPILER, *FLAGS, *LINK, "-o", str(made), *objects, str(processor)], check=True)
        shutil.move(made, program)


def environment() -> dict[str, str]:
    return {**os.environ, "LD_PRELOAD": ""}


@cache
def host_says(key: str) -> str:
    """The value of the first such line in /proc/cpuinfo."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(key):
            return line.split(":")[1].strip()
    return ""


def configuration(name: str, without: Iterable[str] = ()) -> tuple[bytes, bool]:
    """A `struct machine_config` of the model without some features, and whether it is of the host's vendor. How wide
    linear addresses are is the host's choice: Linux shows la57 when it has turned that on."""
    model = cpumodel.load(name).without(without)
    if "la57" not in host_says("flags").split():
        model = model.without(["LA57"])
    config = _core.ffi.new("struct machine_config *")
    rows = model.cpuid()
    config.generation = model.generation
    config.memory_bytes, config.cpus, config.cpuid_count = 2 << 20, 1, len(rows)
    for index, row in enumerate(rows):
        config.cpuid[index] = row
    return bytes(_core.ffi.buffer(config)), model.vendor == host_says("vendor_id")


class Failure:
    """A case that the two processors see differently (or, asked for, the same): a `struct oracle_failure`."""

    def __init__(self, record: Any) -> None:
        self.record = record  # owns what the others point into
        self.fields: int = record.fields
        self.test, self.ours, self.host = record.test, record.ours, record.host

    @property
    def code(self) -> bytes:
        return bytes(self.test.code)[: max(1, min(self.test.length, 15))]


@dataclass
class Report:
    """What the workers found in all."""

    cases: int
    unsteady: int
    astray: int
    seconds: float
    forms: list[Any]
    tallies: list[Any]
    failures: list[Failure]


class Oracle:
    """The built program, with a CPU model."""

    def __init__(self, program: Path, model: str = "max") -> None:
        self.program = program
        self.config, self.same_vendor = configuration(model)

    def _order(self, **fields: Any) -> bytes:
        order = types().new("struct oracle_order *", {"same_vendor": self.same_vendor, **fields})
        return self.config + bytes(types().buffer(order))

    def run(
        self, seed: int, seconds: float, workers: int, attempts: int = 0, spoil: bool = False, rounds: int = 0
    ) -> Report:
        """Runs every form at least once in each worker; at least that long, or `rounds` times."""
        start = time.monotonic()

        def work(worker: int) -> bytes:
            order = self._order(
                seed=seed, seconds=seconds, rounds=rounds, worker=worker, attempts=attempts, spoil=spoil
            )
            done = subprocess.run(
                [self.program], input=order, capture_output=True, timeout=seconds + 600, env=environment()
            )
            if done.returncode == 4:
                raise OracleUnavailable(done.stderr.decode().strip())
            if done.returncode:
                raise RuntimeError(f"oracle: status {done.returncode}: {done.stderr.decode()}")
            return done.stdout

        with ThreadPoolExecutor(workers) as pool:
            answers = list(pool.map(work, range(workers)))
        return join([Reader(answer) for answer in answers], time.monotonic() - start)

    def ask(self, tests: Iterable[Any], spoil: bool = False) -> list[Failure]:
        """Cases one by one, each with clean memory around it."""
        data = [packed(test) for test in tests]
        order = self._order(cases=len(data), spoil=spoil) + b"".join(data)
        output = subprocess.run(
            [self.program], input=order, stdout=subprocess.PIPE, check=True, timeout=600, env=environment()
        ).stdout
        return list(Reader(output).failures(len(data)))


class Reader:
    """Structures out of the program's output, in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, name: str) -> Any:
        ffi = types()
        size = ffi.sizeof(name)
        value = ffi.new(f"{name} *")
        ffi.buffer(value)[:] = self.data[self.at : self.at + size]
        self.at += size
        return value

    def failures(self, count: int) -> Iterator[Failure]:
        for _ in range(count):
            yield Failure(self.take("struct oracle_failure"))


def copy_of(test: Any) -> Any:
    """A case of its own."""
    ffi = types()
    other = ffi.new("struct oracle_case *")
    ffi.buffer(other)[:] = packed(test)
    return other


def packed(test: Any) -> bytes:
    """A case (or a pointer to one) as the program reads it."""
    ffi = types()
    pointer = test if ffi.typeof(test).kind == "pointer" else ffi.addressof(test)
    return bytes(ffi.buffer(pointer, ffi.sizeof("struct oracle_case")))


def join(readers: list[Reader], seconds: float) -> Report:
    total = Report(0, 0, 0, seconds, [], [], [])
    for reader in readers:
        report = reader.take("struct oracle_report")
        total.cases += report.cases
        total.unsteady += report.unsteady
        total.astray += report.astray
        forms = [reader.take("struct oracle_form") for _ in range(report.forms)]
        tallies = [reader.take("struct oracle_tally") for _ in range(report.forms)]
        total.forms = forms
        if not total.tallies:
            total.tallies = tallies
        else:
            for sum_, one in zip(total.tallies, tallies, strict=True):
                for name in ("runs", "done", "undefined", "host_only", "died", "failures"):
                    setattr(sum_, name, getattr(sum_, name) + getattr(one, name))
        total.failures += reader.failures(report.failures)
    return total
