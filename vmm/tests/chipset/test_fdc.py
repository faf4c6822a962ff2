"""The 82077AA: registers, reset, seeks and what is answered at once (Intel 290166)."""

from __future__ import annotations

from typing import Any

import pytest
from chipset.fdc_host import CCR, DIR, DOR, DSR, FIFO, MSR, NEVER, RUNNING, TDR, Fdc

MS = 10**6 // 1000  # FLOPPY_HASTE


@pytest.fixture
def fdc(lib: Any, ffi: Any) -> Fdc:
    return Fdc(lib, ffi)


# ---- registers ----


def test_power_on(lib: Any, ffi: Any) -> None:
    fdc = Fdc(lib, ffi, run=False)
    assert [fdc.read(register) for register in (0, 1, DOR, TDR, MSR, 6)] == [0xFF, 0xFF, 0, 0xFC, 0, 0xFF]
    fdc.write(FIFO, 0x10)  # nobody listens in reset
    assert (fdc.read(MSR), fdc.read(FIFO), fdc.deadline, fdc.irq) == (0, 0, NEVER, False)


def test_registers_keep_what_they_have_bits_for(fdc: Fdc) -> None:
    fdc.write(TDR, 0xFF)
    assert fdc.read(TDR) == 0xFF
    fdc.write(TDR, 0)
    assert fdc.read(TDR) == 0xFC
    for value in (0x1C, 0x2D, 0x0C):
        fdc.write(DOR, value)
        assert fdc.read(DOR) == value


def test_data_rate_is_the_last_of_dsr_and_ccr(fdc: Fdc) -> None:
    fdc.write(DSR, 0x01)
    assert fdc.state.rate == 1
    fdc.write(CCR, 0xFF)
    assert fdc.state.rate == 3
    assert not fdc.irq


def test_main_status_follows_the_phases(fdc: Fdc) -> None:
    assert fdc.read(MSR) == 0x80
    fdc.command(0x04)
    assert fdc.read(MSR) == 0x90
    fdc.command(0x00)
    assert fdc.read(MSR) == 0xD0
    fdc.read(FIFO)
    assert fdc.read(MSR) == 0x80
    fdc.command(0xE6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert fdc.read(MSR) == 0x10
    fdc.write(FIFO, 0x08)  # lost: it does not listen
    assert (fdc.read(MSR), fdc.read(FIFO)) == (0x10, 0)


# ---- reset ----


@pytest.mark.parametrize("how", ["DOR", "DSR"])
def test_reset_is_sensed_of_four_drives(fdc: Fdc, how: str) -> None:
    if how == "DOR":
        fdc.write(DOR, RUNNING & ~4)
        assert fdc.read(MSR) == 0
        fdc.write(DOR, RUNNING)
    else:
        fdc.write(DSR, 0x80)
    assert not fdc.irq
    fdc.wait()
    assert fdc.irq
    for drive in range(4):
        assert fdc.ask(8) == [0xC0 | drive, 0]
        assert not fdc.irq
    assert fdc.ask(8) == [0x80]


def test_firmware_may_sense_one_drive_and_go_on(fdc: Fdc) -> None:
    fdc.write(DSR, 0x80)
    fdc.wait()
    assert fdc.ask(8) == [0xC0, 0]
    assert fdc.seek(0x07, 0) == [0x20, 0]
    assert fdc.ask(8) == [0x80]


def test_a_reset_that_nobody_senses_hides_no_other_interrupt(fdc: Fdc) -> None:
    """IRQ 6 is an edge: it has to fall before the end of the recalibration can raise it."""
    fdc.write(DSR, 0x80)
    fdc.wait()
    assert fdc.irq
    fdc.command(0x07)
    assert not fdc.irq
    fdc.command(0)
    fdc.wait()
    assert fdc.irq
    assert fdc.ask(8) == [0x20, 0]
    assert fdc.ask(8) == [0x80]


def test_polling_that_is_off_is_on_again_after_a_reset(fdc: Fdc) -> None:
    fdc.ask(0x94)
    fdc.ask(0x13, 0, 0x10, 0)
    fdc.write(DSR, 0x80)
    fdc.wait()
    assert fdc.ask(8) == [0xC0, 0]
    assert fdc.ask(0x0E)[8] == 0


def test_reset_ends_a_command(fdc: Fdc) -> None:
    fdc.dma_bytes = 512
    fdc.command(0xE6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    fdc.write(DOR, RUNNING & ~4)
    fdc.write(DOR, RUNNING)
    fdc.wait()
    assert fdc.ask(8) == [0xC0, 0]
    assert (fdc.read(MSR), fdc.served) == (0x80, [])


def test_reset_in_the_middle_of_a_command_and_of_results(fdc: Fdc) -> None:
    for bytes_written in ((0x46, 0, 0), (0x10,)):
        fdc.command(*bytes_written)
        fdc.write(DSR, 0x80)
        assert fdc.read(MSR) == 0x80
        assert fdc.ask(0x10) == [0x90]


def test_lock_keeps_the_fifo_over_a_reset(fdc: Fdc) -> None:
    fdc.ask(0x13, 0, 0x57, 0x22)
    fdc.write(DSR, 0x80)
    assert fdc.ask(0x0E)[8:] == [0x20, 0]  # the defaults: no FIFO
    fdc.ask(0x13, 0, 0x57, 0x22)
    assert fdc.ask(0x94) == [0x10]
    fdc.write(DSR, 0x80)
    assert fdc.ask(0x0E)[7:] == [0x80, 0x07, 0x22]
    assert fdc.ask(0x14) == [0]
    fdc.write(DSR, 0x80)
    assert fdc.ask(0x0E)[7:] == [0, 0x20, 0]


def test_dmagate_holds_the_interrupt_back(fdc: Fdc) -> None:
    fdc.write(DOR, RUNNING & ~8)
    fdc.command(0x07, 0)
    fdc.advance(100 * MS)
    assert not fdc.irq
    fdc.write(DOR, RUNNING)
    assert fdc.irq


# ---- commands that are answered at once ----


def test_version(fdc: Fdc) -> None:
    assert fdc.ask(0x10) == [0x90]


VALID = {
    *(0x06 | bits << 5 for bits in range(8)),
    *(0x0C | bits << 5 for bits in range(8)),
    *(0x16 | bits << 5 for bits in range(8)),
    *(0x05 | bits << 6 for bits in range(4)),
    *(0x09 | bits << 6 for bits in range(4)),
    *(first | bits << 6 for first in (0x02, 0x0D, 0x0A) for bits in range(2)),
    *(0x07, 0x08, 0x03, 0x04, 0x0F, 0x8F, 0xCF, 0x10, 0x13, 0x0E, 0x12, 0x14, 0x94),
}


@pytest.mark.parametrize("first", range(256))
def test_which_commands_there_are(fdc: Fdc, first: int) -> None:
    fdc.write(FIFO, first)
    if first in VALID:
        assert fdc.read(MSR) & 0x10  # it waits for more, or has results
    else:
        assert fdc.results() == [0x80]
        assert not fdc.irq


def test_dumpreg(fdc: Fdc) -> None:
    fdc.ask(3, 0xD1, 0x09)
    fdc.ask(0x13, 0, 0x5A, 0x11)
    fdc.ask(0x12, 0x80 | 0b1010 << 2 | 1)
    fdc.seek(0x0F, 1, 7)
    assert fdc.ask(0x0E) == [0, 7, 0, 0, 0xD1, 0x09, 0, 0b101001, 0x5A, 0x11]


def test_perpendicular_mode_keeps_drives_without_ow(fdc: Fdc) -> None:
    fdc.ask(0x12, 0x80 | 0b0101 << 2 | 3)
    fdc.ask(0x12, 0b1111 << 2)
    assert fdc.ask(0x0E)[7] == 0b010100
    fdc.ask(0x12, 3)
    fdc.write(DSR, 0x80)
    assert fdc.ask(0x0E)[7] == 0b010100  # a reset clears GAP and WGATE only


@pytest.mark.parametrize(("drive", "head", "status"), [(0, 0, 0x38), (0, 1, 0x3C), (1, 0, 0x29), (3, 0, 0x2B)])
def test_sense_drive_status(fdc: Fdc, drive: int, head: int, status: int) -> None:
    assert fdc.ask(4, head << 2 | drive) == [status]


def test_sense_drive_status_of_a_protected_medium(lib: Any, ffi: Any) -> None:
    fdc = Fdc(lib, ffi, read_only=True)
    assert fdc.ask(4, 0) == [0x78]
    fdc.seek(0x0F, 0, 3)
    assert fdc.ask(4, 0) == [0x68]


def test_sense_interrupt_without_one_is_invalid(fdc: Fdc) -> None:
    assert fdc.ask(8) == [0x80]


# ---- seeks ----


def test_seek_takes_its_steps(fdc: Fdc) -> None:
    """SRT 0Ah is 6 ms a step at 500 kbps."""
    fdc.command(0x0F, 0x04, 40)
    assert fdc.read(MSR) == 0x81
    start = fdc.now
    fdc.wait()
    assert fdc.now - start == 40 * 6 * MS
    assert fdc.read(MSR) == 0x81
    assert fdc.ask(8) == [0x24, 40]
    assert (fdc.read(MSR), fdc.irq) == (0x80, False)
    assert fdc.state.drive[0].cylinder == 40


@pytest.mark.parametrize(("rate", "step"), [(0, 6.0), (1, 10.0), (2, 12.0), (3, 3.0)])
def test_step_rate_follows_the_data_rate(fdc: Fdc, rate: int, step: float) -> None:
    fdc.write(CCR, rate)
    start = fdc.now
    fdc.seek(0x0F, 0, 10)
    assert fdc.now - start == 10 * step * MS


def test_recalibrate(fdc: Fdc) -> None:
    fdc.seek(0x0F, 0, 79)
    assert fdc.seek(0x07, 0) == [0x20, 0]
    assert fdc.ask(4, 0) == [0x38]


def test_recalibrate_gives_up_after_79_steps(fdc: Fdc) -> None:
    fdc.seek(0x0F, 0, 81)
    assert fdc.state.drive[0].cylinder == 81
    assert fdc.seek(0x07, 0) == [0x70, 0]
    assert fdc.state.drive[0].cylinder == 2
    assert fdc.seek(0x07, 0) == [0x20, 0]


@pytest.mark.parametrize("drive", [1, 2, 3])
def test_recalibrate_of_no_drive(fdc: Fdc, drive: int) -> None:
    assert fdc.seek(0x07, drive) == [0x70 | drive, 0]


def test_seeks_overlap(fdc: Fdc) -> None:
    fdc.insert(1, 1474560)
    fdc.command(0x0F, 0, 20)
    fdc.command(0x0F, 1, 10)
    assert fdc.read(MSR) == 0x83
    fdc.wait()
    assert fdc.ask(8) == [0x21, 10]
    assert fdc.read(MSR) == 0x81
    fdc.wait()
    assert fdc.ask(8) == [0x20, 20]


def test_two_seeks_that_ended_keep_the_interrupt(fdc: Fdc) -> None:
    fdc.insert(1, 1474560)
    fdc.command(0x0F, 1, 1)
    fdc.command(0x0F, 0, 1)
    fdc.advance(1000 * MS)
    assert fdc.ask(8) == [0x20, 1]
    assert fdc.irq
    assert fdc.ask(8) == [0x21, 1]
    assert not fdc.irq


def test_relative_seek(fdc: Fdc) -> None:
    assert fdc.seek(0xCF, 0, 30) == [0x20, 30]
    assert fdc.seek(0x8F, 0, 12) == [0x20, 18]
    assert fdc.state.drive[0].cylinder == 18
    assert fdc.seek(0x8F, 0, 20) == [0x20, 254]  # the register goes round, the head does not
    assert fdc.state.drive[0].cylinder == 0


def test_heads_stop_where_the_drive_ends(fdc: Fdc) -> None:
    fdc.seek(0x0F, 0, 255)
    assert fdc.state.drive[0].cylinder == 83
    fdc.insert(1, 368640)
    fdc.seek(0x0F, 1, 255)
    assert fdc.state.drive[1].cylinder == 43


# ---- the disk change line ----


def test_disk_change_falls_with_a_step(fdc: Fdc) -> None:
    assert fdc.read(DIR) == 0xFF
    fdc.seek(0x07, 0)  # on cylinder 0 already: no step
    assert fdc.read(DIR) == 0xFF
    fdc.seek(0x0F, 0, 1)
    assert fdc.read(DIR) == 0x7F


def test_disk_change_is_the_selected_drive_s(fdc: Fdc) -> None:
    fdc.seek(0x0F, 0, 1)
    fdc.insert(1, 1474560)
    assert fdc.read(DIR) == 0x7F
    fdc.write(DOR, 0x2D)
    assert fdc.read(DIR) == 0xFF
    fdc.write(DOR, 0x4E)  # nothing is there to pull the line
    assert fdc.read(DIR) == 0x7F


def test_disk_change_stays_without_a_medium(fdc: Fdc, lib: Any) -> None:
    fdc.seek(0x0F, 0, 1)
    lib.floppy_drive_eject(fdc.state.drive[0:1])
    assert fdc.read(DIR) == 0xFF
    fdc.seek(0x0F, 0, 5)
    assert fdc.read(DIR) == 0xFF
