"""Fixtures: a stand-in for the C core (the functions of machine.h over a guest that is a Python generator), and
processors in VMX operation, which rootmode.py drives."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cffi import FFI
from hypothesis import HealthCheck, settings
from rootmode import Root

from bringup.vmm.boot import Image
from bringup.vmm.control import ControlServer
from bringup.vmm.loop import Ending, Poller, Runner
from bringup.vmm.machine import Machine, Registers
from bringup.vmm.spec import MachineSpec
from bringup.vmm.turns import TurnServer

# The same examples in every run, however loaded the host is.
settings.register_profile(
    "vmm",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("vmm")

MACHINE_H = Path(__file__).parent.parent / "core" / "machine.h"
NEVER = 2**64 - 1
MIB = 1 << 20


def declarations(header: Path) -> str:
    """What cffi can read of a header."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    return "\n".join(
        line for line in text.splitlines() if not line.startswith("#") or re.match(r"#define \w+ \w+ *$", line)
    )


# ---- what a fake guest does, one after the other ----


@dataclass
class Work:
    """Retires so many instructions."""

    count: int


@dataclass
class Print:
    """One instruction a byte."""

    data: bytes
    channel: int = 0


@dataclass
class Halt:
    """HLT until a timer so many nanoseconds later, or for ever; input ends it too unless `deaf`."""

    nanoseconds: int | None = None
    deaf: bool = False


@dataclass
class End:
    """An event: the name of an exit kind."""

    kind: str
    detail: int = 0
    reason: str = ""


Guest = Callable[["FakeMachine"], Iterator[Work | Print | Halt | End]]


@dataclass
class FakeMachine:
    """State of one fake machine; `read` is for its guest."""

    guest: Guest
    config: Any
    count: int = 0
    time: int = 0
    deadline: int = 0
    steps: Any = None
    step: Any = None
    inputs: list[deque[int]] = field(default_factory=lambda: [deque() for _ in range(4)])
    outputs: list[list[tuple[int, int, int]]] = field(default_factory=lambda: [[] for _ in range(5)])
    interrupts: bool = True
    ram: Any = None
    registers: Any = None
    resets: int = 0
    power_button: int = 0

    def read(self, uart: int = 0) -> bytes:
        """All input that has arrived."""
        data = bytes(self.inputs[uart])
        self.inputs[uart].clear()
        return data


class FakeLib:
    """The functions of machine.h. `air_every`: operations of the guest after which a run comes up for air."""

    INPUT_QUEUE = 256
    KEY_QUEUE = 16

    def __init__(self, ffi: Any, guest: Guest, air_every: int = 50) -> None:
        self._ffi = ffi
        self._guest = guest
        self.air_every = air_every
        self.machines: list[FakeMachine] = []
        self.refuse = ""
        self.shows: str | None = None
        """On the screen; None: there is none."""
        self.scrolls = False
        """Half of it is gone when the machine next looks."""
        self.seen = 0
        self.pressed: list[int] = []
        self.moved: list[tuple[int, int, int, int]] = []

    def machine_create(self, config: Any, error: Any, size: int) -> Any:
        if self.refuse:
            self._ffi.memmove(error, self.refuse.encode() + b"\0", len(self.refuse) + 1)
            return self._ffi.NULL
        copy = self._ffi.new("struct machine_config *", config[0])
        machine = FakeMachine(self._guest, copy)
        machine.ram = self._ffi.new("uint8_t[]", int(config.memory_bytes))
        machine.registers = self._ffi.new("struct vcpu_registers *")
        self.machines.append(machine)
        machine.steps = iter(())
        return len(self.machines) - 1 + 1000

    def _at(self, handle: int) -> FakeMachine:
        return self.machines[handle - 1000]

    def machine_destroy(self, handle: int) -> None:
        machine = self._at(handle)
        assert machine.ram is not None
        machine.ram = None

    def machine_reset(self, handle: int) -> None:
        self._at(handle).resets += 1

    def machine_ram(self, handle: int, gpa: int, size: int) -> Any:
        machine = self._at(handle)
        return machine.ram + gpa if gpa + size <= machine.config.memory_bytes else self._ffi.NULL

    def machine_set_registers(self, handle: int, vcpu: int, registers: Any) -> None:
        machine = self._at(handle)
        self._ffi.memmove(machine.registers, registers, self._ffi.sizeof("struct vcpu_registers"))
        machine.steps = iter(machine.guest(machine))
        machine.step = None

    def machine_get_registers(self, handle: int, vcpu: int, registers: Any) -> None:
        machine = self._at(handle)
        self._ffi.memmove(registers, machine.registers, self._ffi.sizeof("struct vcpu_registers"))
        registers.rflags = 0x202 if machine.interrupts else 2

    def machine_count(self, handle: int) -> int:
        return self._at(handle).count

    def machine_time(self, handle: int) -> int:
        return self._at(handle).time

    def machine_power_button(self, handle: int) -> None:
        self._at(handle).power_button += 1

    def machine_exits(self, handle: int, vcpu: int, reason: int) -> int:
        return 7 if reason == 10 else 0

    def machine_exit_ring(self, handle: int, vcpu: int, records: Any, most: int) -> int:
        return 0

    def machine_vcpu_count(self, handle: int, vcpu: int) -> int:
        return self._at(handle).count

    def machine_state_hash(self, handle: int) -> int:
        return hash((self._at(handle).count, self._at(handle).time)) & NEVER

    def machine_serial_input(self, handle: int, uart: int, data: bytes, size: int) -> int:
        queue = self._at(handle).inputs[uart]
        taken = min(size, self.INPUT_QUEUE - len(queue))
        queue.extend(data[:taken])
        return taken

    def machine_screen(self, handle: int, screen: Any) -> int:
        if self.shows is None:
            return 0
        screen.mode, screen.columns, screen.rows, screen.width, screen.height = 1, 80, 25, 9, 16
        for at, char in enumerate(self.shows.ljust(80 * 25)):
            screen.cells[at] = 0x0700 | ord(char)
        return 1

    def machine_screen_seen(self, handle: int) -> None:
        self.seen += 1

    def machine_font(self, handle: int, number: int, glyphs: Any) -> int:
        return int(self.shows is not None)

    def machine_keys(self, handle: int, events: Any, count: int) -> int:
        taken = min(count, self.KEY_QUEUE - len(self.pressed))
        self.pressed += list(events[0:taken])
        return taken

    def machine_mouse(self, handle: int, dx: int, dy: int, dz: int, buttons: int) -> None:
        self.moved.append((dx, dy, dz, buttons))

    def machine_serial_output(self, handle: int, uart: int, data: Any, counts: Any, size: int) -> int:
        queue = self._at(handle).outputs[uart]
        taken = queue[:size]
        del queue[:size]
        for index, (byte, count, _) in enumerate(taken):
            data[index], counts[index] = byte, count
        return len(taken)

    def machine_debug_output(self, handle: int, data: Any, counts: Any, size: int) -> int:
        return self.machine_serial_output(handle, 4, data, counts, size)

    def machine_run(self, handle: int, limits: Any, end: Any) -> int:
        machine = self._at(handle)
        kind, detail, reason = self._run(machine, limits)
        end.kind = getattr(self._enum, kind)
        end.detail, end.count, end.time, end.deadline = detail, machine.count, machine.time, machine.deadline
        end.reason = reason.encode()
        return 0

    @property
    def _enum(self) -> Any:
        names = self._ffi.typeof("enum machine_exit_kind").relements
        return SimpleNamespace(**{name.removeprefix("MACHINE_"): value for name, value in names.items()})

    def _run(self, machine: FakeMachine, limits: Any) -> tuple[str, int, str]:
        if limits.screen_step and self.scrolls:
            self.scrolls = False
            return "SCREEN", 0, ""
        for _ in range(self.air_every):
            unread = sum(map(len, machine.outputs))
            oldest = min((queue[0][2] for queue in machine.outputs if queue), default=NEVER)
            if limits.output_bytes and unread >= limits.output_bytes:
                return "OUTPUT", 0, ""
            due = oldest + limits.output_age if limits.output_age and unread else NEVER
            if machine.time >= due:
                return "OUTPUT", 0, ""
            if machine.count >= limits.count or machine.time >= limits.time:
                return "LIMIT", 0, ""
            if machine.step is None:
                machine.step = next(machine.steps, None) or Halt(deaf=True)
                machine.deadline = NEVER
                if isinstance(machine.step, Halt):
                    machine.interrupts = not machine.step.deaf
                    if machine.step.nanoseconds is not None:
                        machine.deadline = machine.time + machine.step.nanoseconds
            bound = min(limits.count - machine.count, limits.time - machine.time, due - machine.time)
            match machine.step:
                case Work(count):
                    done = min(count, bound)
                    machine.count += done
                    machine.time += done
                    machine.step = Work(count - done) if count > done else None
                case Print(data, channel):
                    machine.count += 1
                    machine.time += 1
                    machine.outputs[channel].append((data[0], machine.count, machine.time))
                    machine.step = Print(data[1:], channel) if len(data) > 1 else None
                case Halt(_, deaf):
                    if any(machine.inputs) and not deaf:
                        machine.step = None
                    elif unread and limits.stop_when_idle:
                        return ("IDLE" if machine.deadline != NEVER else "IDLE_FOREVER"), 0, ""
                    elif machine.deadline == NEVER:
                        return "IDLE_FOREVER", 0, ""
                    else:
                        machine.time = min(machine.deadline, limits.time, due)
                        machine.step = None if machine.time == machine.deadline else machine.step
                case End(kind, detail, reason):
                    machine.step = None
                    return kind, detail, reason
        return "AIR", 0, ""


class FakeCore(SimpleNamespace):
    """Stands in for the extension module: `ffi` and `lib`."""

    ffi: FFI
    lib: FakeLib


@pytest.fixture(scope="session")
def machine_ffi() -> FFI:
    ffi = FFI()
    chipset = MACHINE_H.parent / "chipset"
    for header in (chipset / "storage.h", chipset / "network.h", MACHINE_H):
        ffi.cdef(declarations(header))
    return ffi


@pytest.fixture
def guests() -> SimpleNamespace:
    """The words that fake guests are written in."""
    return SimpleNamespace(Work=Work, Print=Print, Halt=Halt, End=End)


@pytest.fixture
def fake_core(machine_ffi: FFI) -> Callable[..., FakeCore]:
    """Makes a core whose machines run the given guest."""

    def make(guest: Guest, air_every: int = 50) -> FakeCore:
        return FakeCore(ffi=machine_ffi, lib=FakeLib(machine_ffi, guest, air_every))

    return make


# ---- a whole process's worth, in a thread ----


class Bench:
    """A runner over a fake core, run in a thread; `ending` waits for it."""

    def __init__(self, core: FakeCore, *, spec: MachineSpec | None = None, **options: Any) -> None:
        self.machine = Machine(spec or MachineSpec(memory=2 * MIB), core)
        self.core = core
        self.fake = core.lib.machines[0]
        self.runner = Runner(self.machine, lambda: self.machine.load(Image(Registers())), Poller(), **options)
        self.closing: list[Any] = []
        self._thread: threading.Thread | None = None
        self._result: list[Ending] = []

    def turns(self, path: Path) -> Bench:
        self.closing.append(TurnServer(path, self.runner))
        self._start(self.closing[-1])
        return self

    def control(self, path: Path) -> Bench:
        self.closing.append(ControlServer(path, self.runner))
        return self

    def free(self) -> Bench:
        self._start(None)
        return self

    def _start(self, driver: Any) -> None:
        def run() -> None:
            try:
                self._result.append(self.runner.run(driver))
            finally:
                for part in reversed(self.closing):
                    part.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()

    @property
    def ending(self) -> Ending:
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive(), "the run loop hangs"
        assert self._result, "the run loop raised an exception"
        return self._result[0]

    def stop(self) -> None:
        self.runner.end(Ending(0, "the test is over", quiet=True))
        if self._thread is not None:
            self._thread.join(20)
        self.machine.close()


@pytest.fixture
def bench(fake_core: Callable[..., FakeCore]) -> Iterator[Callable[..., Bench]]:
    """Makes runners over a fake guest; stops what is left at the end of the test."""
    benches: list[Bench] = []

    def make(guest: Guest, air_every: int = 50, **options: Any) -> Bench:
        benches.append(Bench(fake_core(guest, air_every), **options))
        return benches[-1]

    yield make
    for one in benches:
        one.stop()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for sockets, as the current one: their paths are bounded by 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.fixture
def make() -> Iterator[Callable[..., Root]]:
    """Makes processors in VMX operation; they go with the test."""
    roots: list[Root] = []

    def one(model: str = "max") -> Root:
        roots.append(Root(model))
        return roots[-1]

    yield one
    for root in roots:
        root.close()


@pytest.fixture
def root(make: Callable[..., Root]) -> Root:
    return make()
