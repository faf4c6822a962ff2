"""QEMU's fw_cfg: items by selector, as its users read them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

GIB = 1 << 30


def take(lib: Any, ffi: Any, chip: Any, size: int, items: Any = None) -> bytes:
    none = ffi.new("struct fw_cfg_items *")
    return bytes(lib.fw_cfg_read(chip, items or none) for _ in range(size))


def read(lib: Any, ffi: Any, chip: Any, key: int, size: int, items: Any = None) -> bytes:
    lib.fw_cfg_select(chip, key)
    return take(lib, ffi, chip, size, items)


@pytest.fixture
def make(lib: Any, ffi: Any) -> Callable[..., Any]:
    def make(ram_size: int = 512 << 20, cpus: int = 1) -> Any:
        chip = ffi.new("struct fw_cfg *")
        lib.fw_cfg_reset(chip, ram_size, cpus)
        return chip

    return make


def test_items(lib: Any, ffi: Any, make: Callable[..., Any]) -> None:
    chip = make(cpus=3)
    assert read(lib, ffi, chip, lib.FW_CFG_SIGNATURE, 4) == b"QEMU"
    assert read(lib, ffi, chip, lib.FW_CFG_ID, 4) == struct.pack("<I", lib.FW_CFG_ID_PORTS), "no DMA"
    assert read(lib, ffi, chip, lib.FW_CFG_RAM_SIZE, 8) == struct.pack("<Q", 512 << 20)
    assert read(lib, ffi, chip, lib.FW_CFG_NB_CPUS, 2) == struct.pack("<H", 3)
    assert read(lib, ffi, chip, lib.FW_CFG_MAX_CPUS, 2) == struct.pack("<H", 3)


def test_the_selector_starts_anew_and_zeros_follow_an_item(lib: Any, ffi: Any, make: Callable[..., Any]) -> None:
    chip = make()
    assert take(lib, ffi, chip, 3) == b"QEM", "the signature is selected at reset"
    assert read(lib, ffi, chip, lib.FW_CFG_SIGNATURE, 2) == b"QE"
    assert take(lib, ffi, chip, 6) == b"MU\0\0\0\0"
    for key in (0x02, 0x10, lib.FW_CFG_FILE_FIRST + 1, 0x4000, 0x8000, 0xFFFF):
        assert read(lib, ffi, chip, key, 4) == bytes(4)


@pytest.mark.parametrize(
    ("ram_size", "ranges"),
    [(GIB, [(0, GIB)]), (3 * GIB, [(0, 3 * GIB)]), (256 * GIB, [(0, 3 * GIB), (4 * GIB, 253 * GIB)])],
)
def test_the_memory_map_is_a_file(
    lib: Any, ffi: Any, make: Callable[..., Any], ram_size: int, ranges: list[tuple[int, int]]
) -> None:
    chip = make(ram_size)
    (count,) = struct.unpack(">I", read(lib, ffi, chip, lib.FW_CFG_FILE_DIR, 4))
    directory = read(lib, ffi, chip, lib.FW_CFG_FILE_DIR, 4 + 64 * count)
    files = {
        name.rstrip(b"\0").decode(): (key, size)
        for size, key, reserved, name in struct.iter_unpack(">IHH56s", directory[4:])
        if not reserved
    }
    assert set(files) == {"etc/e820"}
    key, size = files["etc/e820"]
    assert list(struct.iter_unpack("<QQI", read(lib, ffi, chip, key, size))) == [(*extent, 1) for extent in ranges]


def test_at_its_ports(make_board: Callable[..., Any]) -> None:
    board = make_board(memory_bytes=5 * GIB)
    selector, data = board.lib.PORT_FW_CFG, board.lib.PORT_FW_CFG + 1
    board.outb(selector, board.lib.FW_CFG_RAM_SIZE, size=2)
    assert bytes(board.inb(data) for _ in range(9)) == struct.pack("<Q", 5 * GIB) + b"\0"
    board.outb(selector, board.lib.FW_CFG_SIGNATURE, size=2)
    board.outb(selector, board.lib.FW_CFG_RAM_SIZE)  # a byte selects nothing
    board.outb(data, 0x55)
    assert board.inb(selector) == 0xFF
    assert bytes(board.inb(data) for _ in range(4)) == b"QEMU"
    board.lib.board_reset(board.pointer)
    board.outb(selector, board.lib.FW_CFG_RAM_SIZE, size=2)
    assert board.inb(data, size=1) == 0


def test_given_items_come_before_those_made_here(lib: Any, ffi: Any, make: Callable[..., Any]) -> None:
    chip, items = make(cpus=3), ffi.new("struct fw_cfg_items *")
    data = ffi.from_buffer(b"file")
    given = ffi.new("struct machine_item[2]", [(lib.FW_CFG_NB_CPUS, 2, data), (0x25, 4, data)])
    assert lib.fw_cfg_items_copy(items, given, 2)
    assert read(lib, ffi, chip, lib.FW_CFG_NB_CPUS, 4, items) == b"fi\0\0"
    assert read(lib, ffi, chip, 0x25, 6, items) == b"file\0\0"
    assert read(lib, ffi, chip, lib.FW_CFG_MAX_CPUS, 2, items) == struct.pack("<H", 3)
    lib.fw_cfg_items_free(items)
