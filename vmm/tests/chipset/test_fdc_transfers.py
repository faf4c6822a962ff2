"""The 82077AA's commands that read, write, verify and format (Intel 290166, 5.1 and tables 5-3 to 5-7)."""

from __future__ import annotations

from typing import Any

import pytest
from chipset.fdc_host import CCR, DOR, FIFO, MSR, NEVER, RUNNING, SECTOR, Fdc, image

READ, READ_DELETED, WRITE, WRITE_DELETED, READ_TRACK, VERIFY, FORMAT, READ_ID = (
    0x46, 0x4C, 0x45, 0x49, 0x42, 0x56, 0x4D, 0x4A,
)  # fmt: skip
MT, MFM, SK = 0x80, 0x40, 0x20
MA, NW, ND, OVERRUN, DE, EN = 0x01, 0x02, 0x04, 0x10, 0x20, 0x80
WC, DD, CM = 0x10, 0x20, 0x40
TURN = 200_000  # ns: 300 rpm, FLOPPY_HASTE times as fast


@pytest.fixture
def fdc(lib: Any, ffi: Any) -> Fdc:
    return Fdc(lib, ffi)


def chs(c: int, h: int, r: int, eot: int = 18, n: int = 2, dtl: int = 0xFF) -> tuple[int, ...]:
    """The parameters of a read or write on drive 0, from head and drive on."""
    return (h << 2, c, h, r, n, eot, 0x1B, dtl)


def numbers(data: bytes | bytearray) -> list[int]:
    """The numbers of the sectors."""
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), SECTOR)]


# ---- reading by DMA ----


@pytest.mark.parametrize(("cylinder", "head", "sector"), [(0, 0, 1), (0, 1, 18), (5, 0, 7), (79, 1, 18)])
def test_read_one_sector(fdc: Fdc, cylinder: int, head: int, sector: int) -> None:
    fdc.seek(0x0F, 0, cylinder)
    fdc.dma_bytes = SECTOR
    results = fdc.run(READ, *chs(cylinder, head, sector))
    after = (cylinder + 1, head, 1) if sector == 18 else (cylinder, head, sector + 1)
    assert results == [head << 2, 0, 0, *after, 2]
    assert numbers(fdc.memory) == [(cylinder * 2 + head) * 18 + sector - 1]
    assert not fdc.irq


# Table 5-6: what C, H, R are after the terminal count, by MT, head, and whether the last sector was EOT.
@pytest.mark.parametrize(
    ("mt", "head", "last", "after"),
    [
        (0, 0, 9, (3, 0, 10)), (0, 0, 18, (4, 0, 1)), (0, 1, 9, (3, 1, 10)), (0, 1, 18, (4, 1, 1)),
        (1, 0, 9, (3, 0, 10)), (1, 0, 18, (3, 1, 1)), (1, 1, 9, (3, 1, 10)), (1, 1, 18, (4, 0, 1)),
    ],
)  # fmt: skip
def test_id_in_the_results(fdc: Fdc, mt: int, head: int, last: int, after: tuple[int, int, int]) -> None:
    fdc.seek(0x0F, 0, 3)
    fdc.dma_bytes = 2 * SECTOR
    results = fdc.run(mt << 7 | READ, *chs(3, head, last - 1))
    assert results == [head << 2, 0, 0, *after, 2]


def test_both_sides_of_a_cylinder(fdc: Fdc) -> None:
    fdc.dma_bytes = 36 * SECTOR
    start = fdc.now
    assert fdc.run(MT | READ, *chs(0, 0, 1)) == [0x04, 0, 0, 1, 0, 1, 2]
    assert numbers(fdc.memory) == list(range(36))
    assert fdc.now - start <= 3 * TURN  # two sides, and what was waited for the index hole


def test_beyond_the_last_sector_is_end_of_cylinder(fdc: Fdc) -> None:
    fdc.dma_bytes = 100 * SECTOR
    assert fdc.run(READ, *chs(0, 0, 17)) == [0x40, EN, 0, 1, 0, 1, 2]
    assert numbers(fdc.memory) == [16, 17]
    assert fdc.run(MT | READ, *chs(0, 0, 18)) == [0x44, EN, 0, 1, 0, 1, 2]
    assert numbers(fdc.memory[2 * SECTOR :]) == [17, *range(18, 36)]


def test_eot_ends_the_track_early(fdc: Fdc) -> None:
    fdc.dma_bytes = 100 * SECTOR
    assert fdc.run(READ, *chs(0, 0, 1, eot=4))[:3] == [0x40, EN, 0]
    assert numbers(fdc.memory) == [0, 1, 2, 3]


def test_terminal_count_within_a_sector(fdc: Fdc) -> None:
    fdc.dma_bytes = SECTOR + 100
    assert fdc.run(READ, *chs(0, 0, 1)) == [0, 0, 0, 0, 0, 3, 2]
    assert len(fdc.memory) == SECTOR + 100


def test_no_answer_from_the_channel_is_an_overrun(fdc: Fdc) -> None:
    assert fdc.run(READ, *chs(0, 0, 1)) == [0x40, OVERRUN, 0, 0, 0, 1, 2]
    assert fdc.run(WRITE, *chs(0, 0, 1)) == [0x40, OVERRUN, 0, 0, 0, 1, 2]
    assert fdc.media[0] == image(1474560)


def test_dmagate_is_in_the_way_of_drq(fdc: Fdc) -> None:
    fdc.dma_bytes = SECTOR
    fdc.write(DOR, RUNNING & ~8)
    fdc.command(READ, *chs(0, 0, 1))
    fdc.advance(10 * TURN)
    assert fdc.results()[:2] == [0x40, OVERRUN]
    assert not fdc.memory


# ---- what cannot be found ----


@pytest.mark.parametrize(
    ("parameters", "st1", "st2"),
    [
        (chs(0, 0, 0), ND, 0), (chs(0, 0, 19, eot=30), ND, 0), (chs(0, 0, 1, n=3), ND, 0), (chs(7, 0, 1), ND, WC),
        ((0, 0, 1, 1, 2, 18, 0x1B, 0xFF), ND, 0),
    ],
)  # fmt: skip
def test_a_sector_that_is_not_there(fdc: Fdc, parameters: tuple[int, ...], st1: int, st2: int) -> None:
    """The search ends with the second index pulse."""
    fdc.command(READ, *parameters)
    start = fdc.now
    fdc.wait()
    assert TURN < fdc.now - start <= 2 * TURN + 10**5
    assert fdc.results() == [0x40, st1, st2, *parameters[1:5]]


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_no_mark_is_found_at_the_wrong_data_rate(fdc: Fdc, rate: int) -> None:
    fdc.write(CCR, rate)
    assert fdc.run(READ, *chs(0, 0, 1))[:3] == [0x40, MA, 0]
    assert fdc.run(READ_ID, 0)[:3] == [0x40, MA, 0]


RATES = {163840: {1, 2}, 184320: {1, 2}, 327680: {1, 2}, 368640: {1, 2}, 737280: {2}, 1228800: {0}, 1474560: {0},
         1720320: {0}, 2949120: {3}}  # fmt: skip


@pytest.mark.parametrize("size", RATES)
def test_data_rates_of_the_media(lib: Any, ffi: Any, size: int) -> None:
    fdc = Fdc(lib, ffi, size)
    found = set()
    for rate in range(4):
        fdc.write(CCR, rate)
        if fdc.run(READ_ID, 0)[1] == 0:
            found.add(rate)
    assert found == RATES[size]


@pytest.mark.parametrize("command", [READ, READ_ID, READ_TRACK, VERIFY])
def test_fm_marks_are_not_found(fdc: Fdc, command: int) -> None:
    parameters = (0,) if command == READ_ID else chs(0, 0, 1)
    assert fdc.run(command & ~MFM, *parameters)[:3] == [0x40, MA, 0]


def test_one_sided_medium(lib: Any, ffi: Any) -> None:
    fdc = Fdc(lib, ffi, 163840)
    fdc.dma_bytes = 100 * SECTOR
    assert fdc.run(MT | READ, *chs(0, 0, 8, eot=8))[:3] == [0x44, MA, 0]
    assert numbers(fdc.memory) == [7]


def test_beyond_the_last_cylinder_is_nothing(fdc: Fdc) -> None:
    fdc.seek(0x0F, 0, 81)
    assert fdc.run(READ, *chs(81, 0, 1))[:3] == [0x40, MA, 0]


@pytest.mark.parametrize("why", ["motor", "medium", "drive"])
def test_without_index_pulses_it_waits_until_the_reset(fdc: Fdc, lib: Any, why: str) -> None:
    if why == "motor":
        fdc.write(DOR, 0x0C)
    elif why == "medium":
        lib.floppy_drive_eject(fdc.state.drive[0:1])
    fdc.command(READ_ID, 1 if why == "drive" else 0)
    fdc.wait()
    assert (fdc.irq, fdc.deadline, fdc.read(MSR)) == (False, NEVER, 0x10)
    fdc.write(DOR, 0)
    fdc.write(DOR, RUNNING)
    fdc.wait()
    assert fdc.ask(8) == [0xC0, 0]


def test_a_motor_that_starts_or_a_medium_that_comes_ends_the_wait(fdc: Fdc, lib: Any) -> None:
    fdc.write(DOR, 0x0C)
    fdc.command(READ_ID, 0)
    fdc.wait()
    fdc.write(DOR, RUNNING)
    fdc.wait()
    assert fdc.results()[:3] == [0, 0, 0]
    lib.floppy_drive_eject(fdc.state.drive[0:1])
    fdc.command(READ_ID, 0)
    fdc.wait()
    assert not fdc.irq
    fdc.insert(0, 1474560)
    lib.fdc_medium_changed(fdc.state, fdc.now)
    fdc.wait()
    assert fdc.results()[:3] == [0, 0, 0]


def test_a_medium_that_goes_while_it_is_read(fdc: Fdc, lib: Any) -> None:
    fdc.dma_bytes = 18 * SECTOR
    fdc.command(READ, *chs(0, 0, 1))
    while not fdc.served:
        fdc.advance(TURN // 18)
    lib.floppy_drive_eject(fdc.state.drive[0:1])
    fdc.advance(10 * TURN)
    assert (fdc.irq, fdc.deadline, fdc.read(MSR)) == (False, NEVER, 0x10)


def test_a_data_rate_that_changes_while_a_sector_is_waited_for(fdc: Fdc) -> None:
    fdc.dma_bytes = SECTOR
    fdc.command(READ, *chs(0, 0, 1))
    fdc.write(CCR, 2)
    fdc.wait()
    assert fdc.results()[:3] == [0x40, MA, 0]
    assert not fdc.memory


def test_a_smaller_medium_that_comes_while_a_sector_is_waited_for(fdc: Fdc, lib: Any) -> None:
    fdc.seek(0x0F, 0, 79)
    fdc.command(READ, *chs(79, 0, 1))
    assert lib.floppy_drive_insert(fdc.state.drive[0:1], 368640, False)
    fdc.write(CCR, 2)
    fdc.wait()
    assert fdc.results()[:3] == [0x40, MA, 0]
    assert fdc.served == []


def test_a_medium_that_cannot_be_read(fdc: Fdc) -> None:
    fdc.broken, fdc.dma_bytes = True, SECTOR
    assert fdc.run(READ, *chs(0, 0, 1)) == [0x40, DE, DD, 0, 0, 1, 2]
    assert not fdc.memory


# ---- other reads ----


def test_read_id_takes_what_comes(fdc: Fdc) -> None:
    fdc.seek(0x0F, 0, 2)
    seen = [fdc.run(READ_ID, 4) for _ in range(40)]
    assert all(results[:5] == [4, 0, 0, 2, 1] and results[6] == 2 for results in seen)
    assert {results[5] for results in seen} == set(range(1, 19))


def test_read_deleted_data_of_data(fdc: Fdc) -> None:
    """Table 5-5: without SK the sector is read and ends the command; with SK it is passed over."""
    fdc.dma_bytes = 4 * SECTOR
    assert fdc.run(READ_DELETED, *chs(0, 0, 5)) == [0, 0, CM, 0, 0, 5, 2]
    assert numbers(fdc.memory) == [4]
    assert fdc.run(READ_DELETED | SK, *chs(0, 0, 5)) == [0x40, EN, 0, 1, 0, 1, 2]
    assert numbers(fdc.memory) == [4]


def test_read_track_begins_at_the_index_hole(fdc: Fdc) -> None:
    fdc.advance(TURN // 2)
    fdc.dma_bytes = 100 * SECTOR
    assert fdc.run(READ_TRACK, *chs(0, 0, 1, eot=18)) == [0, 0, 0, 0, 0, 19, 2]
    assert numbers(fdc.memory) == list(range(18))


def test_read_track_notes_ids_that_differ(fdc: Fdc) -> None:
    fdc.dma_bytes = 100 * SECTOR
    assert fdc.run(READ_TRACK, *chs(0, 0, 5, eot=3))[:3] == [0x40, ND, 0]
    assert numbers(fdc.memory) == [0, 1, 2]


def test_read_track_goes_round(fdc: Fdc) -> None:
    fdc.dma_bytes = 100 * SECTOR
    assert fdc.run(READ_TRACK, *chs(0, 0, 1, eot=20))[:2] == [0x40, ND]
    assert numbers(fdc.memory) == [*range(18), 0, 1]


@pytest.mark.parametrize(
    ("mt", "eot", "ec", "count", "results", "sectors"),
    [
        (0, 18, 0, 0xFF, [0, 0, 0, 1, 0, 1, 2], range(2, 18)), (1, 18, 0, 0xFF, [4, 0, 0, 1, 0, 1, 2], range(2, 36)),
        (0, 18, 1, 4, [0, 0, 0, 0, 0, 7, 2], range(2, 6)), (0, 18, 1, 17, [0x40, EN, 0, 1, 0, 1, 2], range(2, 18)),
        (1, 18, 1, 20, [4, 0, 0, 0, 1, 5, 2], range(2, 22)), (0, 20, 0, 0xFF, [0x40, ND, 0, 0, 0, 19, 2], range(2, 18)),
        (0, 18, 1, 0, [0x40, EN, 0, 1, 0, 1, 2], range(2, 18)),
    ],
)  # fmt: skip
def test_verify(fdc: Fdc, mt: int, eot: int, ec: int, count: int, results: list[int], sectors: range) -> None:
    """It reads and moves nothing; table 5-7."""
    head, *others = chs(0, 0, 3, eot=eot, dtl=count)
    assert fdc.run(mt << 7 | VERIFY, ec << 7 | head, *others) == results
    assert fdc.served == [f"read {sector}" for sector in sectors]
    assert not fdc.memory


def test_verify_finds_what_cannot_be_read(fdc: Fdc) -> None:
    fdc.broken = True
    assert fdc.run(VERIFY, *chs(0, 0, 3))[:3] == [0x40, DE, DD]


# ---- writing by DMA ----


@pytest.mark.parametrize("command", [WRITE, WRITE_DELETED])
def test_write(fdc: Fdc, command: int) -> None:
    fdc.seek(0x0F, 0, 10)
    fdc.memory = bytearray(b"\xa5" * SECTOR + b"\x5a" * SECTOR)
    fdc.dma_bytes = 2 * SECTOR
    assert fdc.run(MT | command, *chs(10, 0, 18)) == [4, 0, 0, 10, 1, 2, 2]
    first = (10 * 2 * 18 + 17) * SECTOR
    expected = image(1474560)
    expected[first : first + 2 * SECTOR] = b"\xa5" * SECTOR + b"\x5a" * SECTOR
    assert fdc.media[0] == expected


def test_terminal_count_within_a_written_sector_fills_it_with_zeros(fdc: Fdc) -> None:
    fdc.memory, fdc.dma_bytes = bytearray(b"\xff" * 100), 100
    assert fdc.run(WRITE, *chs(0, 0, 1)) == [0, 0, 0, 0, 0, 2, 2]
    assert fdc.media[0][:SECTOR] == b"\xff" * 100 + bytes(SECTOR - 100)


@pytest.mark.parametrize(("command", "dma"), [(WRITE, True), (WRITE_DELETED, True), (FORMAT, True), (WRITE, False)])
def test_a_protected_medium_is_not_written(lib: Any, ffi: Any, command: int, dma: bool) -> None:
    fdc = Fdc(lib, ffi, read_only=True, run=False)
    fdc.start(dma=dma)
    fdc.memory, fdc.dma_bytes = bytearray(SECTOR), SECTOR
    parameters = (0, 2, 18, 0x54, 0xF6) if command == FORMAT else chs(0, 0, 1)
    assert fdc.run(command, *parameters)[:3] == [0x40, NW, 0]
    assert fdc.served == []
    assert fdc.media[0] == image(1474560)


def test_a_medium_that_cannot_be_written(fdc: Fdc) -> None:
    fdc.broken, fdc.memory, fdc.dma_bytes = True, bytearray(SECTOR), SECTOR
    assert fdc.run(WRITE, *chs(0, 0, 1))[:3] == [0x50, 0, 0]


def ids(cylinder: int, head: int, sectors: int) -> bytearray:
    return bytearray(b"".join(bytes([cylinder, head, sector, 2]) for sector in range(1, sectors + 1)))


def test_format_track(fdc: Fdc) -> None:
    fdc.seek(0x0F, 0, 4)
    fdc.memory, fdc.dma_bytes = ids(4, 1, 18), 18 * 4
    start = fdc.now
    assert fdc.run(FORMAT, 4, 2, 18, 0x54, 0xF6)[:3] == [4, 0, 0]
    assert fdc.now - start <= 2 * TURN + 10**5
    first = (4 * 2 + 1) * 18 * SECTOR
    assert fdc.media[0][first : first + 18 * SECTOR] == b"\xf6" * (18 * SECTOR)
    assert fdc.media[0][:first] == image(1474560)[:first]
    assert fdc.media[0][first + 18 * SECTOR :] == image(1474560)[first + 18 * SECTOR :]
    assert fdc.ask(0x0E)[6] == 18


def test_formatted_ids_that_the_image_has_no_place_for_are_lost(fdc: Fdc) -> None:
    fdc.memory = bytearray([1, 0, 1, 2, 0, 1, 2, 2, 0, 0, 19, 2, 0, 0, 4, 3, 0, 0, 5, 2])
    fdc.dma_bytes = len(fdc.memory)
    assert fdc.run(FORMAT, 0, 2, 5, 0x54, 0)[:3] == [0, 0, 0]
    assert fdc.served == ["write 4"]


def test_format_of_no_sectors(fdc: Fdc) -> None:
    fdc.memory, fdc.dma_bytes = ids(0, 0, 1), 4
    assert fdc.run(FORMAT, 0, 2, 0, 0x54, 0)[:3] == [0, 0, 0]


# ---- the head ----


def test_implied_seek(fdc: Fdc) -> None:
    fdc.ask(0x13, 0, 0x40, 0)
    fdc.dma_bytes = SECTOR
    assert fdc.run(READ, *chs(30, 0, 1)) == [0x20, 0, 0, 30, 0, 2, 2]
    assert fdc.ask(8) == [0x80]  # not a seek of its own
    assert fdc.ask(0x0E)[0] == 30
    fdc.dma_bytes = SECTOR
    assert fdc.run(READ, *chs(30, 0, 1))[0] == 0
    assert numbers(fdc.memory) == [30 * 36] * 2


def test_a_read_waits_for_the_seek_of_its_drive(fdc: Fdc) -> None:
    fdc.command(0x0F, 0, 9)
    fdc.dma_bytes = SECTOR
    fdc.command(READ, *chs(9, 0, 1))
    fdc.advance(100 * TURN)
    assert fdc.results()[:3] == [0, 0, 0]
    assert numbers(fdc.memory) == [9 * 36]
    assert fdc.ask(8) == [0x20, 9]


@pytest.mark.parametrize(
    ("load", "pause", "waits"), [(4, 15_900, 0), (4, 16_100, 8_000), (0, 15_900, 0), (0, 16_100, 256_000)]
)
def test_head_load_time(fdc: Fdc, load: int, pause: int, waits: int) -> None:
    """HLT (2 ms each at 500 kbps, 0 is 256 ms) is waited for when the head has been unloaded: HUT, here 16 ms, after
    the last command."""
    fdc.ask(3, 0xA1, load << 1)
    fdc.run(READ_ID, 0)
    fdc.advance(pause)
    before = fdc.now
    fdc.command(READ_ID, 0)
    if not waits:
        assert fdc.state.phase == fdc.lib.FDC_SECTOR
        return
    assert (fdc.state.phase, fdc.deadline - before) == (fdc.lib.FDC_POSITION, waits)
    fdc.wait()
    assert fdc.results()[:3] == [0, 0, 0]


# ---- non-DMA mode ----


@pytest.fixture
def pio(lib: Any, ffi: Any) -> Fdc:
    fdc = Fdc(lib, ffi, run=False)
    fdc.start(dma=False)
    return fdc


def take(fdc: Fdc, size: int) -> bytes:
    """As an interrupt handler does: waits, and reads while there is something."""
    found = bytearray()
    while len(found) < size:
        fdc.wait()
        assert fdc.read(MSR) == 0xF0
        found.append(fdc.read(FIFO))
    return bytes(found)


@pytest.mark.parametrize("fifo", [None, 0, 7, 15])
def test_read_by_the_processor(pio: Fdc, fifo: int | None) -> None:
    if fifo is not None:
        pio.ask(0x13, 0, fifo, 0)
    pio.command(READ, *chs(0, 0, 17))
    assert pio.read(MSR) == 0x30
    assert numbers(take(pio, 2 * SECTOR)) == [16, 17]
    assert not pio.irq  # an edge is needed for the results
    pio.wait()
    assert pio.read(MSR) == 0xD0
    assert pio.results() == [0x40, EN, 0, 1, 0, 1, 2]  # nobody gives a terminal count
    assert not pio.irq


@pytest.mark.parametrize(("fifo", "burst"), [(0x20, 1), (0x00, 15), (0x07, 8), (0x0E, 1), (0x0F, 1)])
def test_an_edge_for_each_burst(pio: Fdc, fifo: int, burst: int) -> None:
    pio.ask(0x13, 0, fifo, 0)
    pio.command(READ, *chs(0, 0, 1))
    pio.wait()
    moved = 0
    while pio.irq:
        pio.read(FIFO)
        moved += 1
    assert moved == burst
    assert pio.read(MSR) == 0x30
    assert pio.read(FIFO) == 0  # nothing to be had
    pio.wait()
    assert pio.read(MSR) == 0xF0


def test_write_by_the_processor(pio: Fdc) -> None:
    pio.command(WRITE, *chs(0, 0, 18))
    pio.wait()
    assert pio.read(MSR) == 0xB0
    assert pio.read(FIFO) == 0  # the wrong way
    for value in range(SECTOR):
        pio.wait()
        assert pio.read(MSR) == 0xB0
        pio.write(FIFO, value & 0xFF)
    assert not pio.irq
    pio.write(FIFO, 0xEE)  # too many
    pio.wait()
    assert pio.results() == [0x40, EN, 0, 1, 0, 1, 2]
    assert pio.media[0][17 * SECTOR : 18 * SECTOR] == bytes(range(256)) * 2
    assert pio.served == ["write 17"]


def test_format_by_the_processor(pio: Fdc) -> None:
    pio.command(FORMAT, 0, 2, 2, 0x54, 0x11)
    for value in (0, 0, 2, 2, 0, 0, 1, 2):
        pio.wait()
        pio.write(FIFO, value)
    pio.wait()
    assert pio.results()[:3] == [0, 0, 0]
    assert pio.served == ["write 1", "write 0"]
    assert pio.media[0][: 2 * SECTOR] == b"\x11" * 2 * SECTOR


def test_the_medium_waits_for_a_slow_processor(pio: Fdc) -> None:
    pio.command(READ, *chs(0, 0, 17))
    pio.wait()
    pio.advance(1000 * TURN)
    assert numbers(take(pio, 2 * SECTOR)) == [16, 17]
