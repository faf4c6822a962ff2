"""The IDE channel: registers, selection, resets, PIO and DMA protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from idebench import (
    ABRT,
    BM_ACTIVE,
    BM_COMMAND,
    BM_ERROR,
    BM_INTERRUPT,
    BM_START,
    BM_STATUS,
    BM_TO_MEMORY,
    BSY,
    COMMAND,
    COUNT,
    DEV,
    DEVICE,
    DF,
    DRQ,
    ERR,
    ERROR,
    FEATURES,
    FULL,
    HOB,
    IDNF,
    LBA,
    LBA_HIGH,
    LBA_LOW,
    LBA_MID,
    MEMORY,
    NEVER,
    NIEN,
    READY,
    SRST,
    STATUS,
    UNC,
    Channel,
    Drive,
    cdrom,
    disk,
)

Make = Callable[..., Channel]


@pytest.fixture
def make(lib: Any, ffi: Any) -> Make:
    return lambda *drives, **settings: Channel(lib, ffi, *drives, **settings)


@pytest.fixture
def channel(make: Make) -> Channel:
    return make(disk())


# ---- who is there ----


def test_signatures(make: Make) -> None:
    channel = make(disk(), cdrom())
    for unit, signature in ((0, [1, 1, 1, 0x00, 0x00]), (1, [1, 1, 1, 0x14, 0xEB])):
        channel.write(DEVICE, unit * DEV)
        assert [channel.read(r) for r in (ERROR, COUNT, LBA_LOW, LBA_MID, LBA_HIGH)] == signature
        assert channel.read(DEVICE) == 0xA0 | unit * DEV
    assert channel.status == 0
    channel.write(DEVICE, 0)
    assert channel.status == READY


def test_nobody_there(make: Make) -> None:
    channel = make()
    channel.write(COUNT, 0x55)
    channel.write(COMMAND, 0x90)
    channel.wait()
    channel.write(DEVICE, DEV)
    assert not channel.irq
    channel.write(COMMAND, 0xEC)
    assert [channel.read(r) for r in range(1, 8)] == [0x7F] * 7  # DD7 is pulled down
    assert channel.wait() == 0x7F and not channel.irq and channel.words(4) == bytes(4)


def test_device_1_is_missing(make: Make) -> None:
    channel = make(disk())
    channel.write(DEVICE, DEV)
    channel.write(COUNT, 0x5A)
    assert channel.status == 0 and channel.read(STATUS) == 0
    assert channel.read(COUNT) == 0x5A and channel.read(DEVICE) == 0xA0 | DEV, "device 0 answers"
    channel.write(COMMAND, 0xEC)
    assert channel.wait() == 0 and not channel.irq
    channel.write(COMMAND, 0x90)
    channel.wait()
    assert channel.irq and channel.read(DEVICE) == 0xA0 and channel.read(COUNT) == 1
    assert channel.status == READY


def test_device_0_is_missing(make: Make) -> None:
    channel = make(None, disk())
    assert channel.status == 0
    channel.write(COMMAND, 0x90)
    assert channel.wait() == 0 and not channel.irq and channel.read(COUNT) == 0
    channel.write(DEVICE, DEV)
    assert channel.status == READY and channel.read(COUNT) == 1, "it executes both devices' diagnostics"
    assert channel.pio_in(0x20, 5, 1, unit=1) == channel.drive(1).data[2560:3072]


def test_registers_keep_what_is_written(make: Make) -> None:
    channel = make(disk(), disk())
    for register in (COUNT, LBA_LOW, LBA_MID, LBA_HIGH):
        for value in range(256):
            channel.write(register, value)
            assert channel.read(register) == value
    channel.write(DEVICE, DEV)
    assert channel.read(COUNT) == 255, "both devices listen"
    for value in range(256):
        channel.write(DEVICE, value)
        assert channel.read(DEVICE) == value | 0xA0


def test_the_value_before_is_kept(channel: Channel) -> None:
    for register in (COUNT, LBA_LOW, LBA_MID, LBA_HIGH):
        channel.write(register, 0x12)
        channel.write(register, 0x34)
        channel.control(HOB)
        assert channel.read(register) == 0x12
        channel.write(FEATURES, 0)
        assert channel.read(register) == 0x34, "a write to the command block ends HOB"


# ---- interrupts ----


def test_status_ends_the_interrupt_and_alternate_status_does_not(channel: Channel) -> None:
    channel.write(COMMAND, 0xE7)
    assert channel.status == READY | BSY and not channel.irq
    channel.wait()
    assert channel.irq and channel.status == READY and channel.irq
    assert channel.read(STATUS) == READY
    assert not channel.irq


def test_nien_hides_an_interrupt_that_stays_pending(channel: Channel) -> None:
    channel.control(NIEN)
    channel.write(COMMAND, 0xE7)
    channel.wait()
    assert not channel.irq
    channel.control(0)
    assert channel.irq


def test_only_the_selected_device_interrupts(make: Make) -> None:
    channel = make(disk(), disk())
    channel.write(COMMAND, 0xE7)
    channel.wait()
    channel.write(DEVICE, DEV)
    assert not channel.irq
    channel.read(STATUS)
    channel.write(DEVICE, 0)
    assert channel.irq


def test_a_new_command_ends_the_interrupt(channel: Channel) -> None:
    channel.write(COMMAND, 0xE7)
    channel.wait()
    channel.write(COMMAND, 0xE7)
    assert not channel.irq


# ---- resets ----


def test_software_reset(make: Make) -> None:
    channel = make(disk(), cdrom())
    channel.write(DEVICE, DEV)
    channel.write(COUNT, 0x77)
    channel.control(SRST)
    assert channel.status == BSY
    channel.write(COUNT, 0x55)
    channel.write(COMMAND, 0xE7)
    assert channel.wait() == BSY
    channel.control(0)
    assert channel.status == BSY
    channel.wait()
    assert not channel.irq
    assert [channel.read(r) for r in (ERROR, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE)] == [1, 1, 1, 0, 0, 0xA0]
    assert channel.status == READY
    channel.write(DEVICE, DEV)
    assert (channel.read(LBA_MID), channel.read(LBA_HIGH), channel.status) == (0x14, 0xEB, 0)


def test_software_reset_ends_a_command(channel: Channel) -> None:
    channel.address(0, 8)
    channel.write(COMMAND, 0x20)
    channel.wait()
    channel.words(100)
    channel.control(SRST)
    channel.control(0)
    assert channel.wait() == READY and not channel.irq
    assert channel.words(4) == bytes(4)
    assert channel.pio_in(0x20, 7, 1) == channel.drive(0).data[3584:4096]


def test_execute_device_diagnostic(make: Make) -> None:
    channel = make(disk(), cdrom())
    channel.write(DEVICE, DEV)
    channel.write(COMMAND, 0x90)
    assert channel.read(STATUS) == BSY
    channel.wait()
    assert channel.irq
    assert [channel.read(r) for r in (ERROR, COUNT, LBA_LOW, DEVICE)] == [1, 1, 1, 0xA0], "DEV is 0 after it"


def test_device_reset_is_for_packet_devices(make: Make) -> None:
    channel = make(cdrom(), disk())
    channel.packet(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 4]))
    assert channel.status & BSY
    channel.write(COMMAND, 0x08)
    assert channel.status == 0 and channel.wait() == 0 and not channel.irq
    assert [channel.read(r) for r in (ERROR, COUNT, LBA_LOW, LBA_MID, LBA_HIGH)] == [1, 1, 1, 0x14, 0xEB]
    assert channel.command(0x08, unit=1) & ERR
    assert channel.read(ERROR) == ABRT


# ---- PIO data-in ----


def test_read_one_sector(channel: Channel) -> None:
    channel.address(3, 1)
    channel.write(COMMAND, 0x20)
    assert channel.status == READY | BSY
    channel.wait()
    assert channel.status == READY | DRQ and channel.irq
    channel.read(STATUS)
    assert channel.words(512) == channel.drive(0).data[1536:2048]
    assert channel.status == READY and not channel.irq, "no interrupt at the end"
    assert channel.lib.ide_deadline(channel.ide) == NEVER


@pytest.mark.parametrize("command", [0x20, 0x21])
@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 256])
def test_read_many_sectors_in_few_requests(channel: Channel, command: int, count: int) -> None:
    assert channel.pio_in(command, 9, count & 0xFF) == channel.drive(0).data[9 * 512 : (9 + count) * 512]
    assert channel.requests == [((9 + first) * 512, min(128, count - first) * 512, 0) for first in range(0, count, 128)]
    assert channel.read(COUNT) == 0
    last = 9 + count - 1
    assert channel.read(LBA_LOW) | channel.read(LBA_MID) << 8 == last, "the address of the last sector"


def test_a_byte_short_of_a_block_is_not_its_end(channel: Channel) -> None:
    channel.address(0, 2)
    channel.write(COMMAND, 0x20)
    channel.wait()
    channel.words(510)
    assert channel.status & DRQ
    channel.words(2)
    assert channel.status & (DRQ | BSY) == BSY
    assert channel.words(2) == bytes(2), "nothing to read while it is busy"


def test_a_bad_sector_is_found(make: Make) -> None:
    channel = make(disk(bad={20}))
    assert channel.pio_in(0x20, 16, 10) == channel.drive(0).data[16 * 512 : 20 * 512]
    assert channel.irq and channel.read(STATUS) == READY | ERR
    assert channel.read(ERROR) == UNC
    assert channel.read(LBA_LOW) == 20


@pytest.mark.parametrize(("lba", "count"), [(2048, 1), (2047, 2), (0x0FFFFFFF, 1), (2000, 0)])
def test_past_the_end(channel: Channel, lba: int, count: int) -> None:
    assert channel.pio_in(0x20, lba, count) == b""
    assert channel.read(STATUS) == READY | ERR and channel.read(ERROR) == IDNF
    assert channel.requests == []


# ---- PIO data-out ----


@pytest.mark.parametrize("command", [0x30, 0x31])
@pytest.mark.parametrize("count", [1, 3, 128, 130])
def test_write(channel: Channel, command: int, count: int) -> None:
    data = bytes(range(256)) * 2 * count
    before = bytes(channel.drive(0).data)
    assert channel.pio_out(command, 40, data) == READY
    assert channel.drive(0).data == before[: 40 * 512] + data + before[(40 + count) * 512 :]
    assert [size for _, size, write in channel.requests if write] == [
        min(128, count - first) * 512 for first in range(0, count, 128)
    ]


def test_write_begins_without_an_interrupt(channel: Channel) -> None:
    channel.address(0, 2)
    channel.write(COMMAND, 0x30)
    assert channel.status == READY | DRQ and not channel.irq
    channel.put(bytes(512))
    assert channel.status & BSY
    channel.wait()
    assert channel.irq and channel.status & DRQ


def test_a_read_only_disk_refuses(make: Make) -> None:
    channel = make(disk(read_only=True))
    channel.address(0, 1)
    channel.write(COMMAND, 0x30)
    assert not channel.status & DRQ
    channel.wait()
    assert channel.read(STATUS) & ERR and channel.read(ERROR) == ABRT and channel.requests == []


def test_a_full_overlay_is_a_device_fault(make: Make) -> None:
    channel = make(disk(refuses=FULL))
    assert channel.pio_out(0x30, 5, bytes(512)) == READY | DF | ERR
    assert channel.read(ERROR) == ABRT
    channel.drive(0).refuses = 0
    assert channel.pio_out(0x30, 5, bytes(512)) == READY, "the next command does not fault"


# ---- the other device ----


def test_a_command_to_the_other_device_ends_this_ones(make: Make) -> None:
    channel = make(disk(), disk())
    channel.address(0, 4)
    channel.write(COMMAND, 0x20)
    channel.wait()
    channel.words(100)
    assert channel.pio_in(0x20, 8, 1, unit=1) == channel.drive(1).data[4096:4608]
    channel.write(DEVICE, 0)
    assert channel.status == READY | ERR and channel.read(ERROR) == ABRT


def test_a_command_while_busy_or_in_a_block_is_ignored(channel: Channel) -> None:
    channel.address(3, 1)
    channel.write(COMMAND, 0x20)
    channel.write(COMMAND, 0xE7)
    channel.write(LBA_LOW, 99)
    channel.wait()
    channel.write(COMMAND, 0xE7)
    assert channel.words(512) == channel.drive(0).data[1536:2048]


# ---- DMA ----


def test_read_dma(channel: Channel) -> None:
    channel.regions((0x10000, 4096), (0x20002, 512), (0x30000, 0x10000))
    count = (4096 + 512) // 512 + 100
    assert channel.dma(0xC8, 7, count) == BM_INTERRUPT | BM_ACTIVE, "regions are left: it stays active"
    data = channel.drive(0).data[7 * 512 : (7 + count) * 512]
    assert channel.ram(0x10000, 4096) + channel.ram(0x20002, 512) + channel.ram(0x30000, 51200) == data
    assert channel.irq and channel.read(STATUS) == READY
    assert channel.requests == [(3584, 55808, 0)], "one request"
    assert channel.ram(0x30000 + 51200, 512) == bytes(512)


def test_read_dma_of_exactly_the_regions(channel: Channel) -> None:
    channel.regions((0x10000, 1024), (0x20000, 1024))
    assert channel.dma(0xC8, 0, 4) == BM_INTERRUPT


def test_read_dma_ext_of_a_megabyte(make: Make) -> None:
    channel = make(disk(4096))
    channel.regions(*[(0x40000, 0)] * 16)
    assert channel.dma(0x25, 1024, 2048, extended=True) == BM_INTERRUPT
    assert channel.ram(0x40000, 0x10000) == channel.drive(0).data[(1024 + 1920) * 512 : (1024 + 2048) * 512]
    assert [size for _, size, _ in channel.requests] == [0x10000] * 16


def test_write_dma(channel: Channel) -> None:
    data = bytes(range(256)) * 6
    channel.ffi.memmove(channel.memory + 0x12340, data, len(data))
    channel.regions((0x12340, 1000), (0x12340 + 1000, 536))
    assert channel.dma(0xCA, 100, 3, to_memory=False) == BM_INTERRUPT
    assert channel.drive(0).data[51200 : 51200 + 1536] == data
    assert channel.requests == [(51200, 1536, 1)]


def test_write_dma_ext_in_several_requests(channel: Channel) -> None:
    channel.ffi.memmove(channel.memory + 0x20000, b"AB" * 0x8000, 0x10000)
    channel.regions((0x20000, 0), (0x20000, 0), (0x20000, 1024))
    assert channel.dma(0x35, 0, 258, to_memory=False, extended=True) == BM_INTERRUPT
    assert channel.drive(0).data[: 258 * 512] == b"AB" * (258 * 256)


def test_the_regions_are_too_short(channel: Channel) -> None:
    """Neither active nor interrupt (290550, the table of the status bits); the device waits for more."""
    channel.regions((0x10000, 512))
    assert channel.dma(0xC8, 0, 2) == 0
    assert channel.status & BSY and not channel.irq
    channel.regions((0x20000, 512))
    channel.master_write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    channel.wait()
    assert channel.irq and channel.ram(0x20000, 512) == channel.drive(0).data[512:1024]


def test_a_region_that_is_not_memory(channel: Channel) -> None:
    channel.regions((MEMORY - 256, 512))
    assert channel.dma(0xC8, 0, 1) == BM_ERROR
    assert channel.status & BSY and not channel.irq
    channel.control(SRST)
    channel.control(0)
    assert channel.wait() == READY


def test_a_table_that_is_not_memory(channel: Channel) -> None:
    for index, value in enumerate((MEMORY - 4).to_bytes(4, "little")):
        channel.master_write(4 + index, value)
    assert channel.dma(0xC8, 0, 1) == BM_ERROR


def test_a_table_without_an_end(make: Make) -> None:
    channel = make(disk(4096))
    channel.regions(*[(0x80000, 2)] * 8192, end=False)
    assert channel.dma(0x25, 0, 40, extended=True) == BM_ERROR
    assert channel.status & BSY


def test_the_bus_master_starts_late(channel: Channel) -> None:
    channel.regions((0x10000, 512))
    channel.address(5, 1)
    channel.write(COMMAND, 0xC8)
    assert channel.wait() & BSY and not channel.irq
    channel.master_write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    assert not channel.irq, "not in the same instant"
    channel.wait()
    assert channel.irq and channel.ram(0x10000, 512) == channel.drive(0).data[2560:3072]


def test_the_bus_master_is_stopped(channel: Channel) -> None:
    channel.regions((0x10000, 512))
    channel.address(5, 1)
    channel.write(COMMAND, 0xC8)
    channel.master_write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    channel.master_write(BM_COMMAND, 0)
    assert channel.wait() & BSY and channel.master_read(BM_STATUS) == 0
    assert channel.ram(0x10000, 512) == bytes(512)


def test_a_bad_sector_in_a_dma(make: Make) -> None:
    channel = make(disk(bad={3}))
    channel.regions((0x10000, 0))
    assert channel.dma(0xC8, 0, 8) == BM_INTERRUPT | BM_ACTIVE
    assert channel.read(STATUS) == READY | ERR
    assert channel.read(ERROR) == UNC and channel.read(LBA_LOW) == 3
    assert channel.ram(0x10000, 1536) == channel.drive(0).data[:1536]


def test_pio_data_are_no_dma(channel: Channel) -> None:
    """The Data register during DMA, DMA during PIO."""
    channel.regions((0x10000, 512))
    channel.master_write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    channel.address(5, 1)
    channel.write(COMMAND, 0x20)
    channel.wait()
    assert channel.ram(0x10000, 512) == bytes(512)
    channel.words(512)
    channel.master_write(BM_COMMAND, 0)
    channel.address(5, 1)
    channel.write(COMMAND, 0xC8)
    channel.wait()
    assert channel.words(512) == bytes(512)
    channel.put(bytes(512))
    assert channel.status & BSY


def test_a_snapshot_within_a_block_goes_on(channel: Channel) -> None:
    channel.address(3, 4)
    channel.write(COMMAND, 0x20)
    channel.wait()
    before = channel.words(514 - 4)
    copy = channel.ffi.new("struct ide *", channel.ide[0])
    now = channel.now

    def rest() -> bytes:
        return channel.words(2) + channel.take_blocks()

    first = rest()
    channel.ide, channel.now = copy, now
    assert rest() == first and before + first == channel.drive(0).data[1536:3584]


def test_time_in_one_step_or_many(make: Make) -> None:
    channels = [make(disk()), make(disk())]
    for channel in channels:
        channel.regions((0x10000, 0), (0x20000, 0))
        channel.address(0, 200)
        channel.write(COMMAND, 0xC8)
        channel.master_write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    channels[0].advance(10**9)
    for _ in range(1000):
        channels[1].advance(10**6)
    first, second = (bytes(channel.ffi.buffer(channel.ide)) for channel in channels)
    assert first == second and channels[0].irq


def test_a_drive_of_another_kind_is_none(make: Make) -> None:
    channel = make(Drive(3, bytearray(512)))
    assert channel.ide.device[0].kind == 0


def test_lba_bit_off_means_chs(channel: Channel) -> None:
    """Cylinder 1, head 2, sector 3 of 16 heads and 63 sectors."""
    channel.write(DEVICE, 2)
    for register, value in ((COUNT, 1), (LBA_LOW, 3), (LBA_MID, 1), (LBA_HIGH, 0)):
        channel.write(register, value)
    channel.write(COMMAND, 0x20)
    assert channel.take_blocks() == channel.drive(0).data[(63 * (16 + 2) + 2) * 512 :][:512]
    assert (channel.read(LBA_LOW), channel.read(LBA_MID), channel.read(DEVICE) & 15) == (3, 1, 2)
    channel.write(DEVICE, LBA)
