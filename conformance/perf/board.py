"""The bare PC: a disk with a program of our own (guest/boot_sector.S, guest/board.c), which firmware starts."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bringup.conformance.perf import markers, program
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.machines import Meter, await_line, running
from bringup.conformance.perf.measure import Sample, Vmm
from bringup.conformance.perf.program import Workload
from bringup.guests.definition import BootDevice, DriveKind, Limit
from bringup.harness.machine.machine import Machine
from bringup.harness.machine.settings import MIB, DriveSettings, Settings
from bringup.harness.media.resolve import Media
from bringup.harness.media.store import disk_errors
from bringup.harness.vmms.loader import load as load_vmm

FIRMWARE = "bios"
TITLE = "SeaBIOS to the boot sector"
LONG = "pio"
"""QEMU takes 17 CPU seconds for it."""
WORKLOADS = (
    Workload("dma", "8 times 64 MiB from IDE by DMA", 8),
    Workload(LONG, "64 MiB from IDE by PIO", 1),
    Workload("scroll", "10,000 lines scroll by on the text screen", 10_000),
)
MEMORY = 128 * MIB
DISK = 64 * MIB
LIMIT = Limit(guest=600.0)
"""Between two markers."""
MARKER = r"@perf [^\n]{1,200}\n"

ARGUMENTS = range(0x140, 0x1BE)
"""Where they lie in the boot sector, ended with a 0."""
_MASK = (1 << 64) - 1
_COLUMNS, _ROWS, _GREY = 80, 25, 0x0700


def disk(workloads: Sequence[Workload]) -> bytes:
    """The disk: the program, which is to run these workloads, and bytes of no pattern. PerfError: no such program."""
    code = bytearray(program.build_board().read_bytes())
    arguments = " ".join(each.argument for each in workloads).encode() + b"\0"
    if len(arguments) > len(ARGUMENTS):
        raise PerfError(f"the boot sector has no room for {arguments[:-1].decode()!r}")
    code[ARGUMENTS.start : ARGUMENTS.start + len(arguments)] = arguments
    return bytes(code) + hashlib.shake_128(b"bringup perf").digest(DISK - len(code))


def checksums(image: bytes, workloads: Sequence[Workload]) -> dict[str, int]:
    """What the program has to print, by workload."""
    read = _checksum(
        int.from_bytes(image[at : at + 8], "little")
        for at in (page * 4096 + page % 512 * 8 for page in range(DISK // 4096))
    )
    return {each.name: _screen_checksum(each.units) if each.name == "scroll" else read for each in workloads}


def _screen_checksum(lines: int) -> int:
    """Of the screen after so many lines, at least a screen full."""
    shown = range(lines - _ROWS, lines)
    return _checksum(_GREY | 32 + (line + column) % 95 for line in shown for column in range(_COLUMNS))


def _checksum(values: Iterable[int]) -> int:
    """`mix` of guest/markers.h, of one value after the other."""
    total = 0
    for value in values:
        total = ((total ^ value) * 0x9E3779B97F4A7C15) & _MASK
        total ^= total >> 29
    return total


class BoardPart:
    """See suite.Part: the rows of the bare PC."""

    def __init__(self, rows: Sequence[str], vmms: Sequence[Vmm], media: Media, folder: Path) -> None:
        """`folder`: where the disk may lie as long as this is used. Raises MediaMissing, a reason to leave the rows
        out, MediaError, PerfError."""
        self.long = LONG in rows
        self._with_firmware = FIRMWARE in rows
        self.workloads = [each for each in WORKLOADS if each.name in rows]
        firmware = {vmm.name: media.firmware(load_vmm(vmm.name)) for vmm in vmms}
        image = disk(self.workloads)
        self._expected = checksums(image, self.workloads)
        path = folder / f"{'-'.join(rows)}.img"
        with disk_errors("the disk of the bare PC"):
            path.write_bytes(image)
        self._settings = {
            vmm.name: Settings(
                memory=MEMORY,
                drives=(DriveSettings(DriveKind.DISK, path),),
                boot_order=(BootDevice.DISK,),
                firmware=tuple((name, one.path) for name, one in firmware[vmm.name].items()),
            )
            for vmm in vmms
        }

    def measure(self, vmm: Vmm) -> Mapping[str, Sample]:
        """From reset to the boot sector, and each workload between its markers."""
        with running(vmm, self._settings[vmm.name]) as (machine, meter):
            return self.follow(machine, meter)

    def follow(self, machine: Machine, meter: Meter) -> Mapping[str, Sample]:
        """The rows of a machine that has just been started, by its markers."""
        arrivals = _Arrivals(machine)
        found: dict[str, Sample] = {}
        arrivals.expect(markers.Ready)
        if self._with_firmware:
            found[FIRMWARE] = meter.read()
        arrivals.expect(markers.Ready)
        for each in self.workloads:
            arrivals.expect(markers.Start, each.name)
            begin = meter.read()
            end = arrivals.expect(markers.End, each.name)
            found[each.name] = meter.read().since(begin)
            if end.checksum != self._expected[each.name]:
                raise PerfError(
                    f"{machine.vmm.name} does {each.name} wrong: checksum {end.checksum:016x}, "
                    f"{self._expected[each.name]:016x} expected"
                )
        arrivals.expect(markers.Done)
        return found


class _Arrivals:
    """The markers on a machine's first serial line, each when it is due."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._console = machine, machine.console("serial0")

    def expect(self, kind: type[markers.M], name: str = "") -> markers.M:
        """PerfError: another one comes, or none."""
        name_of_vmm = self._machine.vmm.name
        try:
            marker = markers.parse(await_line(self._machine, self._console, MARKER, LIMIT).encode())
        except PerfError as error:
            due = f"{kind.__name__.lower()} {name}".strip()
            raise PerfError(f"{name_of_vmm}, marker {due!r}: {error}") from None
        return markers.due(name_of_vmm, marker, kind, name)
