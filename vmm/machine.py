"""The PC board as Python sees it: builds, runs, resets and inspects one machine of the C core (core/machine.h)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from . import cpumodel
from .drives import Drives
from .network import Network
from .screen.picture import FONT_BYTES
from .screen.text import Mode, TextScreen
from .spec import MachineSpec, SpecError

if TYPE_CHECKING:
    from .boot import Image

UARTS = 4
DEBUG_PORT = UARTS  # the channel after the UARTs
CHANNELS = UARTS + 1
NEVER = 2**64 - 1

# How much one read takes from a channel; the guest stops at 4 KiB of unread output, so one read is the rule.
_READ = 16384

# Indices of Registers.gpr and .segments, in the order of instruction encoding (SDM volume 2, tables 2-2 and 3-1).
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
ES, CS, SS, DS, FS, GS, LDTR, TR = range(8)


class MachineError(Exception):
    """The core cannot build this machine."""


class ExitKind(IntEnum):
    """Why `Machine.run` returned: `enum machine_exit_kind` of core/machine.h."""

    AIR = 0
    LIMIT = 1
    IDLE = 2
    IDLE_FOREVER = 3
    OUTPUT = 4
    POWER_OFF = 5
    RESET = 6
    TRIPLE_FAULT = 7
    PANIC = 8
    DEBUG_EXIT = 9
    INTERNAL = 10
    SCREEN = 11


@dataclass(frozen=True, slots=True)
class Exit:
    """One return of `Machine.run`. `time` and `deadline` are guest nanoseconds, `count` retired instructions."""

    kind: ExitKind
    detail: int
    count: int
    time: int
    deadline: int
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends `Machine.run` (`struct machine_limits`): absolute count and time, unread output, host time."""

    count: int = NEVER
    time: int = NEVER
    output_bytes: int = 0
    output_age: int = 0
    stop_when_idle: bool = False
    air_us: int = 0
    screen_step: int = 0


class Segment(NamedTuple):
    """A segment register with its hidden part; `access` as VT-x has it (SDM volume 3, table 25-2)."""

    selector: int
    base: int
    limit: int
    access: int

    def descriptor(self) -> int:
        """The 8-byte segment descriptor that loads it (SDM volume 3, 3.4.5)."""
        limit = self.limit >> 12 if self.access & 1 << 15 else self.limit
        return (
            limit & 0xFFFF
            | (self.base & 0xFFFFFF) << 16
            | (self.access & 0xFF) << 40
            | (limit >> 16) << 48
            | (self.access >> 12 & 0xF) << 52
            | (self.base >> 24 & 0xFF) << 56
        )


UNUSABLE = Segment(selector=0, base=0, limit=0, access=1 << 16)


@dataclass
class Registers:
    """A vCPU's registers (`struct vcpu_registers`)."""

    gpr: list[int] = field(default_factory=lambda: [0] * 16)
    rip: int = 0
    rflags: int = 1 << 1
    cr0: int = 0
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    cr8: int = 0
    efer: int = 0
    # DR6 and DR7 as after reset (SDM volume 3, table 10-1).
    dr: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400])
    segments: list[Segment] = field(default_factory=lambda: [UNUSABLE] * 8)
    gdt_base: int = 0
    gdt_limit: int = 0
    idt_base: int = 0
    idt_limit: int = 0


class Output(NamedTuple):
    """Bytes of one channel; `counts` is one little-endian u64 a byte: the instruction count at which it was sent."""

    data: bytes
    counts: bytes


class VmExit(NamedTuple):
    """A VM exit: the machine's instructions so far, whose it was, RIP, exit reason with its name (SDM volume 3,
    appendix C)."""

    retired: int
    vcpu: int
    rip: int
    reason: int
    name: str
    qualification: int


_SCALARS = (
    "rip",
    "rflags",
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "cr8",
    "efer",
    "gdt_base",
    "gdt_limit",
    "idt_base",
    "idt_limit",
)


class Machine:
    """One machine. A context manager: the core's memory goes when it is left.

    `core` is the extension module (or a stand-in with its `lib` and `ffi`, for tests of what is above it). `complain`
    is told what goes wrong with the media of drives. Raises StorageError for one that cannot be used.
    """

    def __init__(
        self, spec: MachineSpec, core: Any = None, complain: Callable[[str], None] = lambda text: None
    ) -> None:
        self.spec = spec
        model = cpumodel.load(spec.cpu)
        if (spec.memory + (1 << 30)) >> model.physical_address_bits:
            raise SpecError(
                f"{spec.memory >> 20}M of memory: CPU model '{spec.cpu}' has {model.physical_address_bits} address bits"
            )
        if spec.cpus > 1 and not model.has("APIC"):
            raise SpecError(f"{spec.cpus} vCPUs: CPU model '{spec.cpu}' has no local APIC, so there can be 1")
        if core is None:
            from .core import _core as core
        self._lib: Any = core.lib
        self._ffi: Any = core.ffi
        self._drives = Drives(spec.drives, spec.write, complain)
        try:
            self._network = Network(spec.nic)
            self._machine: Any = self._create(model)
        except BaseException:
            self._drives.close()
            raise
        self._network.plug_in(self._machine)
        new = self._ffi.new
        self._limits = new("struct machine_limits *")
        self._exit = new("struct machine_exit *")
        self._screen = new("struct machine_screen *")
        self._data = new("uint8_t[]", _READ)
        self._counts = new("uint64_t[]", _READ)
        self._data_view = memoryview(self._ffi.buffer(self._data))
        self._counts_view = memoryview(self._ffi.buffer(self._counts))

    def _create(self, model: cpumodel.CpuModel) -> Any:
        spec, ffi = self.spec, self._ffi
        rows = model.cpuid()
        config = ffi.new("struct machine_config *")
        config.memory_bytes = spec.memory
        config.accel = spec.accel
        config.clock = spec.clock
        config.cpus = spec.cpus
        config.slice = spec.slice
        config.debug_exit = spec.debug_exit
        config.seed = spec.seed
        config.rtc_seconds = spec.rtc
        config.generation = model.generation
        kept = self._firmware(config)
        self._drives.connect(config, self._lib, ffi)
        self._network.connect(config, self._lib, ffi)
        config.arch_capabilities = model.arch_capabilities_value()
        config.cpuid_count = len(rows)
        for index, row in enumerate(rows):
            config.cpuid[index] = row  # IndexError beyond MACHINE_MAX_CPUID
        error = ffi.new("char[]", 200)
        machine = self._lib.machine_create(config, error, 200)
        del kept  # the core has copies
        if machine == ffi.NULL:
            raise MachineError(ffi.string(error).decode(errors="replace"))
        return machine

    def _firmware(self, config: Any) -> list[Any]:
        """Sets the ROM and the firmware configuration; what they point to."""
        spec, ffi = self.spec, self._ffi
        if not spec.firmware:
            return []
        buffers = [ffi.from_buffer(data) for data in (spec.firmware, *(data for _, data in spec.items))]
        table = ffi.new("struct machine_item[]", len(spec.items))
        for row, (key, data), buffer in zip(table, spec.items, buffers[1:], strict=True):
            row.key, row.size, row.data = key, len(data), buffer
        config.firmware, config.firmware_bytes = buffers[0], len(spec.firmware)
        config.items, config.item_count = table, len(spec.items)
        return [*buffers, table]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the memory back; a second call does nothing."""
        machine, self._machine = self._machine, None
        self._network.plug_in(None)
        if machine is not None:
            self._lib.machine_destroy(machine)
        self._drives.close()

    def load(self, image: Image) -> None:
        """Puts a boot image into memory and the boot vCPU's registers."""
        for gpa, data in image.chunks:
            self.write_ram(gpa, data)
        self.set_registers(image.registers)

    def write_ram(self, gpa: int, data: bytes | memoryview) -> None:
        """Copies bytes into guest RAM; MachineError when any of them lies outside."""
        self._ffi.memmove(self._ram(gpa, len(data)), data, len(data))

    def read_ram(self, gpa: int, size: int) -> bytes:
        """Bytes of guest RAM; MachineError when any of them lies outside."""
        return bytes(self._ffi.buffer(self._ram(gpa, size), size))

    def _ram(self, gpa: int, size: int) -> Any:
        host = self._lib.machine_ram(self._machine, gpa, size)
        if host == self._ffi.NULL:
            raise MachineError(f"{size} bytes at {gpa:#x} are not RAM")
        return host

    def run(self, limits: Limits) -> Exit:
        """Runs the guest until a limit or an event. The GIL is released meanwhile."""
        ours, end = self._limits, self._exit
        ours.count, ours.time = limits.count, limits.time
        ours.output_bytes, ours.output_age = limits.output_bytes, limits.output_age
        ours.stop_when_idle, ours.air_us = limits.stop_when_idle, limits.air_us
        ours.screen_step = limits.screen_step
        self._lib.machine_run(self._machine, ours, end)
        reason = self._ffi.string(end.reason).decode(errors="replace") if end.reason[0] != b"\0" else ""
        return Exit(ExitKind(end.kind), end.detail, end.count, end.time, end.deadline, reason)

    def save(self) -> bytes:
        """All of the machine, for `restore` of one with the same spec. Of its drives, what lies in overlays."""
        size = self._ffi.new("size_t *")
        data = self._lib.machine_save(self._machine, size)
        if data == self._ffi.NULL:
            raise MachineError("no memory for a snapshot")
        try:
            core = bytes(self._ffi.buffer(data, size[0]))
        finally:
            self._lib.machine_save_free(data)
        drives = self._drives.save()
        return _SIZE.pack(len(core)) + core + drives

    def restore(self, snapshot: bytes) -> None:
        """Goes back, or over, to what `save` saw. MachineError: it is of another machine, or damaged."""
        core, drives = _split(snapshot)
        result = self._lib.machine_load(self._machine, self._ffi.from_buffer(core), len(core))
        if result == self._lib.SNAPSHOT_OTHER:
            raise MachineError("the snapshot is of a machine with another configuration, or of another build")
        if result != self._lib.SNAPSHOT_LOADED:
            raise MachineError("the snapshot is damaged: the machine cannot go on")
        try:
            self._drives.restore(drives)
        except ValueError as error:
            raise MachineError(f"the snapshot's drives are damaged: the machine cannot go on ({error})") from None

    def reset(self) -> None:
        """Power-on state of every chip and vCPU; RAM, clock and count stay."""
        self._lib.machine_reset(self._machine)

    @property
    def count(self) -> int:
        """Instructions retired since the machine was made, by all vCPUs."""
        return int(self._lib.machine_count(self._machine))

    def vcpu_count(self, vcpu: int) -> int:
        """Those of one vCPU."""
        return int(self._lib.machine_vcpu_count(self._machine, vcpu))

    @property
    def time(self) -> int:
        """Guest nanoseconds since the machine was made."""
        return int(self._lib.machine_time(self._machine))

    def registers(self, vcpu: int = 0) -> Registers:
        """A copy of a vCPU's registers."""
        raw = self._ffi.new("struct vcpu_registers *")
        self._lib.machine_get_registers(self._machine, vcpu, raw)
        return Registers(
            gpr=list(raw.gpr),
            dr=list(raw.dr),
            segments=[Segment(s.selector, s.base, s.limit, s.access) for s in raw.segment],
            **{name: getattr(raw, name) for name in _SCALARS},
        )

    def set_registers(self, registers: Registers, vcpu: int = 0) -> None:
        """Sets all of a vCPU's registers."""
        raw = self._ffi.new("struct vcpu_registers *")
        for name in _SCALARS:
            setattr(raw, name, getattr(registers, name))
        raw.gpr = registers.gpr
        raw.dr = registers.dr
        for index, segment in enumerate(registers.segments):
            raw.segment[index] = segment._asdict()
        self._lib.machine_set_registers(self._machine, vcpu, raw)

    def send(self, uart: int, data: bytes) -> int:
        """Bytes for a UART's receiver (0 to 3); returns how many its bounded queue took."""
        return int(self._lib.machine_serial_input(self._machine, uart, data, len(data)))

    def receive(self, channel: int) -> Output:
        """All unread output of a UART (0 to 3) or of the debug port (DEBUG_PORT)."""
        size = self._take(channel)
        if size < _READ:
            return Output(bytes(self._data_view[:size]), bytes(self._counts_view[: 8 * size])) if size else _NOTHING
        data, counts = bytearray(), bytearray()
        while size:
            data += self._data_view[:size]
            counts += self._counts_view[: 8 * size]
            size = self._take(channel)
        return Output(bytes(data), bytes(counts))

    def _take(self, channel: int) -> int:
        if channel == DEBUG_PORT:
            return int(self._lib.machine_debug_output(self._machine, self._data, self._counts, _READ))
        return int(self._lib.machine_serial_output(self._machine, channel, self._data, self._counts, _READ))

    def screen(self) -> TextScreen | None:
        """What the screen shows now; None: the machine has none."""
        raw = self._screen
        if not self._lib.machine_screen(self._machine, raw):
            return None
        if raw.mode != Mode.TEXT:
            return TextScreen(Mode(raw.mode), blank=bool(raw.blank))
        return TextScreen(
            mode=Mode.TEXT,
            columns=raw.columns,
            rows=raw.rows,
            cells=bytes(self._ffi.buffer(raw.cells))[: 2 * raw.columns * raw.rows],
            cursor=(raw.cursor_row, raw.cursor_column) if raw.cursor else None,
            cursor_lines=(raw.cursor_first, raw.cursor_last),
            width=raw.width,
            height=raw.height,
            colours=bytes(raw.colours),
            blank=bool(raw.blank),
            blink=bool(raw.blink),
            line_graphics=bool(raw.line_graphics),
        )

    def screen_seen(self) -> None:
        """What it shows now has been seen: what scrolls until `ExitKind.SCREEN` counts from here."""
        self._lib.machine_screen_seen(self._machine)

    def fonts(self) -> tuple[bytes, bytes]:
        """The VGA's two fonts, as `screen.picture` wants them; MachineError: the machine has no screen."""
        glyphs = self._ffi.new("uint8_t[]", FONT_BYTES)
        fonts = []
        for number in range(2):
            if not self._lib.machine_font(self._machine, number, glyphs):
                raise MachineError("the machine has no screen")
            fonts.append(bytes(self._ffi.buffer(glyphs)))
        return fonts[0], fonts[1]

    def press(self, events: Sequence[int]) -> int:
        """Key events (`screen.keys`) for the keyboard; returns how many its bounded queue took. Without a keyboard all
        are taken, and lost."""
        return int(self._lib.machine_keys(self._machine, self._ffi.new("uint32_t[]", list(events)), len(events)))

    def move(self, dx: int, dy: int, dz: int = 0, buttons: int = 0) -> None:
        """Moves the mouse: right, up, wheel towards the user; its buttons are these then: left, right, middle from bit
        0. Without a mouse nothing happens."""
        self._lib.machine_mouse(self._machine, dx, dy, dz, buttons)

    def power_button(self) -> None:
        """Presses the ACPI power button."""
        self._lib.machine_power_button(self._machine)

    def exits(self) -> dict[int, int]:
        """VM exits so far by basic exit reason (SDM volume 3, appendix C), of all vCPUs; empty under `bare`."""
        exits, machine, vcpus = self._lib.machine_exits, self._machine, range(self.spec.cpus)
        counts = {reason: sum(int(exits(machine, vcpu, reason)) for vcpu in vcpus) for reason in range(70)}
        return {reason: count for reason, count in counts.items() if count}

    def last_exits(self, most: int = 256) -> list[VmExit]:
        """The last VM exits of all vCPUs, oldest first (at most 256 of each are kept); empty under `bare`."""
        records = self._ffi.new("struct machine_exit_record[]", most)
        exits = []
        for vcpu in range(self.spec.cpus):
            size = self._lib.machine_exit_ring(self._machine, vcpu, records, most)
            exits += [
                VmExit(r.count, vcpu, r.rip, r.reason, self.exit_name(r.reason), r.qualification)
                for r in records[0:size]
            ]
        return sorted(exits, key=lambda one: one.retired)[-most:]

    def exit_name(self, reason: int) -> str:
        """What the SDM calls this exit reason."""
        name = self._lib.machine_exit_name(reason & 0xFFFF)
        return self._ffi.string(name).decode() if name != self._ffi.NULL else "unknown"

    def state_hash(self) -> int:
        """A hash of all guest-visible state, to compare two runs."""
        return int(self._lib.machine_state_hash(self._machine))


_NOTHING = Output(b"", b"")

_SIZE = struct.Struct("<Q")  # before a snapshot's core


def _split(snapshot: bytes) -> tuple[bytes, bytes]:
    """A snapshot's core and its drives; one that is too short for its core is all core, and found damaged there."""
    size = _SIZE.unpack_from(snapshot)[0] if len(snapshot) >= _SIZE.size else 0
    return snapshot[_SIZE.size : _SIZE.size + size], snapshot[_SIZE.size + size :]
