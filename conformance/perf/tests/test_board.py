"""The disk of the bare PC, its program on our own machine, and guests that do not get to their rung."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from bringup.conformance.perf import board, measure
from bringup.conformance.perf.board import BoardPart
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.machines import GUESTS, GuestPart, GuestRow, Meter
from bringup.conformance.perf.program import Workload
from bringup.guests.definition import Limit
from bringup.guests.loader import load
from bringup.harness.limits import Scale, Time
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import MIB, Settings
from bringup.harness.media.resolve import Media
from bringup.harness.media.store import MediaMissing
from bringup.harness.vmms.definition import Capabilities, Channel, Transport, Vmm
from bringup.harness.vmms.loader import LoadedVmm

FEW_LINES = 30
FEW = (Workload("dma", "", 1), Workload("scroll", "", FEW_LINES))
[SCROLLED] = board.checksums(bytes(board.DISK), FEW[1:]).values()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that nobody reads."""
    monkeypatch.setattr(board, "WORKLOADS", FEW)
    monkeypatch.setattr(board, "DISK", MIB)


def test_the_disk() -> None:
    image = board.disk([Workload("dma", "", 8), Workload("scroll", "", 10_000)])
    assert len(image) == 64 << 20
    assert image[0x140:0x154] == b"dma:8 scroll:10000\0\0"
    assert image[0x1BE:0x200] == bytes(64) + b"\x55\xaa"  # no partition
    assert image == board.disk([Workload("dma", "", 8), Workload("scroll", "", 10_000)])


def test_arguments_have_their_end_in_the_boot_sector() -> None:
    room = 0x1BE - 0x140
    board.disk([Workload("x" * (room - 3), "", 1)])
    with pytest.raises(PerfError, match=r"^the boot sector has no room for 'xxx"):
        board.disk([Workload("x" * (room - 2), "", 1)])


def test_checksums_depend_on_all_that_is_read_and_shown() -> None:
    image = bytearray(board.disk([]))
    read, shown = board.checksums(bytes(image), FEW).values()
    image[-4096 + 511 * 8] ^= 1  # of the last page's sample
    workloads = [Workload("dma", "", 8), Workload("pio", "", 1), Workload("scroll", "", FEW_LINES + 1)]
    changed = board.checksums(bytes(image), workloads)
    assert changed["dma"] == changed["pio"] != read
    assert changed["scroll"] != shown


def test_the_program_on_our_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "WORKLOADS", FEW)
    vmm = measure.bringup()
    with tempfile.TemporaryDirectory() as folder:  # the disk is large
        try:
            part = BoardPart(["bios", "dma", "scroll"], [vmm], Media(), Path(folder))
        except MediaMissing as error:
            pytest.skip(str(error))
        first, second = part.measure(vmm), part.measure(vmm)
    assert not part.long
    assert list(first) == ["bios", "dma", "scroll"]
    assert {name: sample.count for name, sample in first.items()} == {
        name: sample.count for name, sample in second.items()
    }
    assert all(sample.cpu > 0 for sample in first.values())
    assert first["bios"].count is not None
    assert 10**6 < first["bios"].count < 10**8


FIRST, READY = "@perf first", "@perf ready"
START, DONE = f"@perf start scroll units={FEW_LINES}", "@perf done"
END = f"@perf end scroll units={FEW_LINES} sum={SCROLLED:016x} ticks={5:020}"


def stand_in(lines: list[str], then: str) -> LoadedVmm:
    """A VMM whose guest prints these lines."""
    program = (
        "import socket, sys\nline = socket.socket(fileno=int(sys.argv[1]))\n"
        f"line.sendall({chr(10).join(['', *lines, '']).encode()!r})\n{then}"
    )
    definition = Vmm(
        name="stand-in",
        title="prints markers",
        command=(sys.executable, "-c", program),
        version=("true",),
        options={"memory": ()},
        channels={"serial0": Channel(transport=Transport.FD, arguments=("{fd}",))},
        capabilities=Capabilities(time=Time.HOST),
    )
    return LoadedVmm(definition, Path("stand-in"), "", "")


def follow(lines: list[str], folder: Path, then: str = "line.recv(1)") -> list[str]:
    part = BoardPart(["bios", "scroll"], [], Media(), folder)
    with start(stand_in(lines, then), Settings(memory=MIB), scale=Scale()) as machine:
        return list(part.follow(machine, Meter(machine)))


@pytest.mark.usefixtures("small")
def test_a_good_run(tmp_path: Path) -> None:
    assert follow([FIRST, READY, START, END, DONE], tmp_path) == ["bios", "scroll"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("lines", "then", "message"),
    [
        ([], "", r"^stand-in, marker 'ready': the VMM ended"),
        ([FIRST], "sys.exit(3)", "^stand-in, marker 'ready': the VMM ended"),
        ([FIRST, "@perf error disk"], "line.recv(1)", "^stand-in, marker 'ready': the guest program says: disk$"),
        ([FIRST, READY, END], "line.recv(1)", r"^stand-in: the marker End\(.* arrived where 'start scroll' was due$"),
        ([FIRST, READY, START, END.replace("sum=", "sum=x")], "line.recv(1)", "does not print"),
        (
            [FIRST, READY, START, END.replace(f"{SCROLLED:016x}", f"{5:016x}")],
            "line.recv(1)",
            f"^stand-in does scroll wrong: checksum 0{{15}}5, {SCROLLED:016x} expected$",
        ),
        ([FIRST, READY, START, END, READY], "line.recv(1)", r"arrived where 'done' was due$"),
    ],
)
def test_a_bad_run_has_one_clear_line(lines: list[str], then: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PerfError, match=message) as caught:
        follow(lines, tmp_path, then)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("small")
def test_a_guest_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "LIMIT", Limit(guest=0.05))
    with pytest.raises(PerfError, match=r"^stand-in, marker 'ready': (stuck|nothing was ever said)"):
        follow([], tmp_path)


def test_a_row_that_no_ladder_has() -> None:
    with pytest.raises(ValueError, match="9front has no rung 'summit'"):
        GuestPart(GuestRow("9front", "", "9front", "summit"), [], Media())


def test_the_rungs_of_the_rows_are_their_ladders() -> None:
    for row in GUESTS:
        assert row.rung in [rung.id for rung in load(row.guest).ladder]
