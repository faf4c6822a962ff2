"""The floppy drive: formats, heads, and what passes under them when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

KIB = 1024
RATE_500K, RATE_300K, RATE_250K, RATE_1M = range(4)
# kB: cylinders, heads, sectors, the kind of drive, a data rate
FORMATS = {
    160: (40, 1, 8, 1, RATE_250K), 180: (40, 1, 9, 1, RATE_250K), 320: (40, 2, 8, 1, RATE_250K),
    360: (40, 2, 9, 1, RATE_250K), 640: (80, 2, 8, 4, RATE_250K), 720: (80, 2, 9, 4, RATE_250K),
    800: (80, 2, 10, 4, RATE_250K), 1200: (80, 2, 15, 2, RATE_500K), 1440: (80, 2, 18, 4, RATE_500K),
    1600: (80, 2, 20, 4, RATE_500K), 1680: (80, 2, 21, 4, RATE_500K), 1722: (82, 2, 21, 4, RATE_500K),
    2880: (80, 2, 36, 5, RATE_1M),
}  # fmt: skip
TURN_300, TURN_360 = 200_000, 60 * 10**9 // 360 // 1000


def drive_with(lib: Any, ffi: Any, size: int) -> Any:
    drive = ffi.new("struct floppy_drive *")
    lib.floppy_drive_connect(drive, lib.floppy_drive_for(size))
    assert lib.floppy_drive_insert(drive, size, False)
    return drive


@pytest.mark.parametrize("size", FORMATS)
def test_formats(lib: Any, ffi: Any, size: int) -> None:
    drive = drive_with(lib, ffi, size * KIB)
    cylinders, heads, sectors, kind, rate = FORMATS[size]
    assert (drive.cylinders, drive.heads, drive.sectors, drive.kind) == (cylinders, heads, sectors, kind)
    assert cylinders * heads * sectors * 512 == size * KIB
    assert lib.floppy_drive_readable(drive, 0, rate)
    assert not lib.floppy_drive_readable(drive, heads, rate)
    lib.floppy_drive_step(drive, cylinders - 1)
    assert lib.floppy_drive_offset(drive, heads - 1, sectors - 1) == size * KIB - 512
    lib.floppy_drive_step(drive, 1)
    assert not lib.floppy_drive_readable(drive, 0, rate)


@pytest.mark.parametrize("size", [0, 1, 512, 360 * KIB - 512, 1440 * KIB - 1, 1440 * KIB + 512, 4 << 30, 2**64 - 1])
def test_other_sizes_are_no_floppy(lib: Any, ffi: Any, size: int) -> None:
    assert lib.floppy_drive_for(size) == lib.FLOPPY_NO_DRIVE
    drive = drive_with(lib, ffi, 1440 * KIB)
    lib.floppy_drive_step(drive, 3)
    before = bytes(ffi.buffer(drive))
    assert not lib.floppy_drive_insert(drive, size, True)
    assert bytes(ffi.buffer(drive)) == before


def test_nothing_goes_into_no_drive(lib: Any, ffi: Any) -> None:
    drive = ffi.new("struct floppy_drive *")
    lib.floppy_drive_connect(drive, lib.FLOPPY_NO_DRIVE)
    assert not lib.floppy_drive_insert(drive, 1440 * KIB, False)
    lib.floppy_drive_step(drive, 5)
    assert (drive.cylinder, drive.changed, lib.floppy_drive_track0(drive)) == (0, False, False)


def test_eject(lib: Any, ffi: Any) -> None:
    drive = drive_with(lib, ffi, 1440 * KIB)
    lib.floppy_drive_step(drive, 7)
    assert not drive.changed
    lib.floppy_drive_eject(drive)
    assert (drive.medium, drive.changed, drive.cylinder) == (False, True, 7)
    assert not any(lib.floppy_drive_readable(drive, 0, rate) for rate in range(4))


@pytest.mark.parametrize(
    ("size", "rate", "turn"),
    [(1440, RATE_500K, TURN_300), (360, RATE_250K, TURN_300), (360, RATE_300K, TURN_360), (1200, RATE_500K, TURN_360)],
)
def test_revolutions(lib: Any, ffi: Any, size: int, rate: int, turn: int) -> None:
    drive = drive_with(lib, ffi, size * KIB)
    assert [lib.floppy_drive_index(drive, rate, now, 1) for now in (0, 1, turn, turn + 1)] == [0, turn, turn, 2 * turn]
    assert lib.floppy_drive_index(drive, rate, 1, 2) == 2 * turn


@given(size=st.sampled_from(list(FORMATS)), now=st.integers(0, 2**60), sector=st.integers(0, 254))
def test_sectors_follow_each_other_without_a_gap(lib: Any, ffi: Any, size: int, now: int, sector: int) -> None:
    drive = drive_with(lib, ffi, size * KIB)
    rate, sectors, turn = FORMATS[size][4], FORMATS[size][2], TURN_300
    if drive.kind == lib.FLOPPY_DRIVE_1200K:
        turn = TURN_360
    sector %= sectors
    passed = lib.floppy_drive_passed(drive, rate, now, sector, sectors)
    assert now < passed <= now + turn + turn // sectors + 1
    assert lib.floppy_drive_next_sector(drive, rate, passed) == (sector + 1) % sectors
    after = lib.floppy_drive_passed(drive, rate, passed, (sector + 1) % sectors, sectors)
    assert turn // sectors <= after - passed <= turn // sectors + 1
    upcoming = lib.floppy_drive_next_sector(drive, rate, now)
    assert lib.floppy_drive_passed(drive, rate, now, upcoming, sectors) <= now + 2 * (turn // sectors + 1)
