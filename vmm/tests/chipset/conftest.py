"""The chips as a shared library of their own, with every structure, register name and function of their headers.

The headers are the only declaration: the C preprocessor expands their state lists and cffi reads what comes out.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cffi import FFI

HERE = Path(__file__).parent
CHIPSET = HERE.parent.parent / "core" / "chipset"
SANITIZE = os.environ.get("BRINGUP_SANITIZE", "0") not in ("", "0")
COMPILER = shlex.split(os.environ.get("CC", "gcc"))
FLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-fPIC", f"-I{CHIPSET}"]
SANITIZERS = ["-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

NEVER = 2**64 - 1
TEST_FUNCTIONS = """
uint64_t test_ticks_at(uint64_t now, uint64_t hertz);
uint64_t test_time_of_tick(uint64_t tick, uint64_t hertz);
"""


def sources() -> list[str]:
    return [str(path) for path in sorted(CHIPSET.glob("*.c"))]


def expand(headers: list[Path], folder: Path) -> str:
    """Headers as cffi takes them: state lists expanded, system headers left out, `#define NAME number` kept."""
    system = folder / "system"
    system.mkdir()
    for name in ("stdbool.h", "stddef.h", "stdint.h"):
        (system / name).touch()
    expanded = subprocess.run(
        [*COMPILER, "-E", "-P", "-nostdinc", f"-I{system}", f"-I{CHIPSET}", "-x", "c", "-"],
        input="".join(f'#include "{path}"\n' for path in headers), text=True, check=True, capture_output=True,
    ).stdout  # fmt: skip
    number = re.compile(r"^#define (\w+) (0[xX][0-9a-fA-F]+|\d+)\b(?: */\*.*\*/)?$", re.MULTILINE)
    numbers = {name: value for path in headers for name, value in number.findall(path.read_text())}
    return "".join(f"#define {name} {value}\n" for name, value in numbers.items()) + expanded


def build(folder: Path) -> None:
    """Makes chips.so and chips.h in `folder`, once for all of pytest's workers."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "chips.h").exists():
            return
        headers = sorted(
            path for path in CHIPSET.glob("*.h") if path.name not in ("ticks.h", "output.h", "board_state.h")
        )
        text = expand(headers, folder) + TEST_FUNCTIONS
        subprocess.run(
            [*COMPILER, *FLAGS, *(SANITIZERS if SANITIZE else ["-O2"]), "-shared", "-o", str(folder / "chips.so"),
             *sources(), str(HERE / "ticks_under_test.c")],
            check=True,
        )  # fmt: skip
        (folder / "chips.h").write_text(text)


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> SimpleNamespace:
    """`lib` and `ffi` of the chips' shared library, and how it was built."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "chips"
    build(folder)
    ffi = FFI()
    ffi.cdef((folder / "chips.h").read_text())
    return SimpleNamespace(
        ffi=ffi,
        lib=ffi.dlopen(str(folder / "chips.so")),
        expand=expand,
        compiler=COMPILER,
        flags=FLAGS,
        sanitizers=SANITIZERS,
        sources=sources(),
    )


@pytest.fixture(scope="session")
def lib(chips: SimpleNamespace) -> Any:
    return chips.lib


@pytest.fixture(scope="session")
def ffi(chips: SimpleNamespace) -> FFI:
    ffi: FFI = chips.ffi
    return ffi


class Board:
    """A board as a run loop sees it; `now` is the guest time that its methods tell it."""

    def __init__(self, chips: SimpleNamespace, **settings: Any) -> None:
        self.lib, self.ffi = chips.lib, chips.ffi
        config = {"memory_bytes": 64 << 20, "cpus": 1, "rtc_seconds": 1_700_000_000, **settings}
        self.pointer = self.lib.board_create(self.ffi.new("struct machine_config *", config))
        self.chips = self.lib.board_chips(self.pointer)
        self.now = 0
        self.count = 0

    def inb(self, port: int, size: int = 1) -> int:
        return int(self.lib.board_io_read(self.pointer, port, size, self.now))

    def outb(self, port: int, *values: int, size: int = 1) -> None:
        for value in values:
            self.lib.board_io_write(self.pointer, port, value, size, self.now, self.count)

    def read(self, address: int, size: int = 4) -> int:
        data = self.ffi.new("uint8_t[]", size)
        self.lib.board_memory_read(self.pointer, 0, address, data, size, self.now)
        return int.from_bytes(bytes(data), "little")

    def write(self, address: int, value: int, size: int = 4) -> None:
        self.lib.board_memory_write(self.pointer, 0, address, value.to_bytes(size, "little"), size, self.now)

    def lapic(self, offset: int, value: int | None = None) -> int:
        """Reads a LAPIC register, or writes it."""
        if value is None:
            return self.read(self.lib.MAP_LAPIC + offset)
        self.write(self.lib.MAP_LAPIC + offset, value)
        return value

    def lvt(self, entry: int, value: int) -> None:
        self.lapic(self.lib.LAPIC_LVT + 16 * entry, value)

    def ioapic(self, register: int, value: int | None = None) -> int:
        self.write(self.lib.MAP_IOAPIC, register)
        if value is None:
            return self.read(self.lib.MAP_IOAPIC + 16)
        self.write(self.lib.MAP_IOAPIC + 16, value)
        return value

    def redirect(self, pin: int, entry: int, destination: int = 0) -> None:
        self.ioapic(0x11 + 2 * pin, destination << 24)
        self.ioapic(0x10 + 2 * pin, entry)

    def advance(self, nanoseconds: int) -> None:
        """Time passes, in one step."""
        self.now += nanoseconds
        self.lib.board_advance(self.pointer, self.now)

    def step(self) -> int:
        """To the next deadline, as a halted processor does; returns it, NEVER without moving."""
        deadline = int(self.lib.board_deadline(self.pointer))
        if deadline != NEVER:
            self.now = max(self.now, deadline)
            self.lib.board_advance(self.pointer, self.now)
        return deadline

    @property
    def pending(self) -> bool:
        return bool(self.lib.board_interrupt_pending(self.pointer, 0))

    def acknowledge(self) -> int:
        return int(self.lib.board_interrupt_acknowledge(self.pointer, 0, self.now))

    def event(self) -> tuple[int, int]:
        detail = self.ffi.new("uint32_t *")
        return int(self.lib.board_take_event(self.pointer, detail)), int(detail[0])

    def type(self, text: bytes, uart: int = 0) -> int:
        return int(self.lib.board_serial_input(self.pointer, uart, text, len(text), self.now))

    def printed(self, uart: int = 0, size: int = 1 << 17) -> tuple[bytes, list[int]]:
        data, counts = self.ffi.new("uint8_t[]", size), self.ffi.new("uint64_t[]", size)
        taken = self.lib.board_serial_output(self.pointer, uart, data, counts, size)
        return bytes(data[0:taken]), list(counts[0:taken])

    def unread(self) -> tuple[int, int]:
        oldest = self.ffi.new("uint64_t *")
        return int(self.lib.board_output_pending(self.pointer, oldest)), int(oldest[0])

    def hash(self) -> int:
        return int(self.lib.board_hash(self.pointer))


@pytest.fixture(scope="session")
def power_on(chips: SimpleNamespace) -> Callable[..., AbstractContextManager[Board]]:
    """Makes a board for a `with`; for tests that need one for each of many examples."""

    @contextmanager
    def power_on(**settings: Any) -> Iterator[Board]:
        board = Board(chips, **settings)
        yield board
        chips.lib.board_destroy(board.pointer)

    return power_on


@pytest.fixture
def make_board(power_on: Callable[..., AbstractContextManager[Board]]) -> Iterator[Callable[..., Board]]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(power_on(**settings))


@pytest.fixture
def board(make_board: Callable[..., Board]) -> Board:
    return make_board()
