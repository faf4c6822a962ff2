"""Firmware of the guest's own: ROM at the reset vector, the memory window, and what it reads of the machine."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import KIB64, rom

from bringup.vmm.boot import fw_cfg
from bringup.vmm.machine import DEBUG_PORT, ExitKind, Limits, Machine, MachineError
from bringup.vmm.spec import MIB, Accel, MachineSpec, SpecError

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")


@pytest.fixture(params=list(Accel), ids=lambda accel: accel.name.lower())
def run(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    def run(code: bytes) -> bytes:
        with Machine(MachineSpec(memory=2 * MIB, accel=request.param, firmware=rom(code))) as machine:
            end = machine.run(Limits(count=100_000))
            assert end.kind is ExitKind.IDLE_FOREVER, end
            return machine.receive(DEBUG_PORT).data

    return run


@pytest.fixture(params=list(Accel), ids=lambda accel: accel.name.lower())
def run_machine(request: pytest.FixtureRequest) -> Callable[[bytes], Machine]:
    return lambda code: Machine(MachineSpec(memory=2 * MIB, accel=request.param, firmware=rom(code)))


PAM0 = 0x58  # the register of 4 bytes that holds PAM0 in byte 1


def pam(value: int) -> bytes:
    """mov dx, cf8h; mov eax, 80000058h; out dx, eax; mov dl, fdh; mov al, value; out dx, al"""
    return (
        b"\xba\xf8\x0c\x66\xb8"
        + struct.pack("<I", 0x80000000 | PAM0)
        + b"\x66\xef\xb2\xfd\xb0"
        + bytes([value])
        + b"\xee"
    )


SEGMENT = bytes.fromhex("b800f0 8ed8 30c0")  # mov ax, f000h; mov ds, ax; xor al, al
SHOW = bytes.fromhex("a00080 e6e9")  # mov al, [8000h]; out e9h, al
HALT = bytes.fromhex("fa f4")


def store(value: int) -> bytes:
    """mov byte [8000h], value"""
    return b"\xc6\x06\x00\x80" + bytes([value])


def test_rom_is_not_written(run: Callable[[bytes], bytes]) -> None:
    assert run(SEGMENT + store(0x41) + SHOW + HALT) == b"\xcc"


def test_ram_behind_rom(run: Callable[[bytes], bytes]) -> None:
    """PAM: stores go behind the ROM; then RAM is seen, is protected, and is behind the ROM again."""
    code = SEGMENT + pam(0x20) + store(0x41) + SHOW + copy_to_ram()
    code += pam(0x30) + SHOW + store(0x42) + SHOW + pam(0x10) + store(0x43) + SHOW + pam(0x00) + SHOW + HALT
    assert run(code) == b"\xccABB\xcc"


def test_an_isa_access_takes_a_microsecond(run_machine: Callable[[bytes], Machine]) -> None:
    """in al, 61h: the instruction's nanosecond and the access; out e9h, al: the instruction's alone."""
    with run_machine(bytes.fromhex("e461 e461 e6e9") + HALT) as machine:
        machine.run(Limits(count=1))  # the jump at the reset vector
        times = []
        for count in range(2, 5):
            machine.run(Limits(count=count))
            times.append(machine.time)
        assert times == [1002, 2003, 2004]


def copy_to_ram() -> bytes:
    """The first KiB of F000:0 onto itself, which with PAM at 'write' copies ROM to the RAM behind it:
    mov ax, f000h; mov es, ax; xor si, si; xor di, di; mov cx, 512; rep movsw"""
    return bytes.fromhex("b800f0 8ec0 31f6 31ff b90002 f3a5")


def test_rom_is_at_the_top_and_under_1_mib_and_what_is_between_is_not_memory() -> None:
    with Machine(MachineSpec(memory=2 * MIB, firmware=rom(HALT, 4 * KIB64))) as machine:
        with pytest.raises(MachineError, match="are not RAM"):
            machine.write_ram(0xF0000, b"x")
        with pytest.raises(MachineError, match="are not RAM"):
            machine.write_ram(2**32 - 16, b"x")
        with pytest.raises(MachineError, match="are not RAM"):
            machine.read_ram(0xC0000, 1)


def times(code: bytes, accel: Accel) -> tuple[int, int]:
    """Instructions, and guest time beyond one nanosecond each."""
    with Machine(MachineSpec(memory=2 * MIB, accel=accel, firmware=rom(code))) as machine:
        end = machine.run(Limits(count=100_000))
        assert end.kind is ExitKind.IDLE_FOREVER, end
        return end.count, end.time - end.count


@pytest.mark.parametrize("accel", list(Accel), ids=lambda accel: accel.name.lower())
@pytest.mark.parametrize(
    ("access", "microseconds"),
    [
        ("e440", 1), ("e680", 1), ("ba0003ec", 1), ("baf703ec", 1),  # PIT, POST code, an empty slot, the floppy
        ("baf701ec", 1), ("bafd03ec", 0), ("baf80cec", 0), ("90", 0),  # IDE's status; a UART, PCI, none
    ],
)  # fmt: skip
def test_a_cycle_of_the_isa_bus_takes_a_microsecond(accel: Accel, access: str, microseconds: int) -> None:
    count, waited = times(bytes.fromhex(access) * 100 + HALT, accel)
    assert waited == 100_000 * microseconds
    assert count > 100


def test_time_that_a_guest_waits_for_is_the_tsc_s() -> None:
    """rdtsc; mov ebx, eax; in al, 80h; rdtsc; sub eax, ebx; and both bytes to E9h."""
    code = bytes.fromhex("0f31 6689c3 e480 0f31 6629d8 e6e9 88e0 e6e9") + HALT
    seen = set()
    for accel in Accel:
        with Machine(MachineSpec(memory=2 * MIB, accel=accel, firmware=rom(code))) as machine:
            assert machine.run(Limits(count=1000)).kind is ExitKind.IDLE_FOREVER
            seen.add(machine.receive(DEBUG_PORT).data)
    assert seen == {(1003).to_bytes(2, "little")}


@pytest.mark.parametrize("size", [1, 4096, KIB64 + 1, 17 * MIB])
def test_sizes_that_no_rom_has(size: int) -> None:
    with pytest.raises(SpecError, match="multiple of 64K, at most 16M"):
        MachineSpec(firmware=bytes(size))


def files(firmware: fw_cfg.Firmware) -> dict[str, bytes]:
    items = dict(fw_cfg.items(firmware))
    directory = items[fw_cfg.FILE_DIR]
    (count,) = struct.unpack_from(">I", directory)
    entries = struct.iter_unpack(">IHH56s", directory[4:])
    found = {name.rstrip(b"\0").decode(): items[key] for size, key, _, name in entries if len(items[key]) == size}
    assert len(found) == count
    return found


def test_items() -> None:
    found = files(fw_cfg.Firmware(5 << 30, 2, [(fw_cfg.VGA_ROM, b"rom")], ["/a@0", "/b"]))
    assert list(struct.iter_unpack("<QQI", found["etc/e820"])) == [(0, 3 << 30, 1), (4 << 30, 2 << 30, 1)]
    assert found[fw_cfg.VGA_ROM] == b"rom"
    assert found["bootorder"] == b"/a@0\n/b\0"
    assert len(found[fw_cfg.LOADER_FILE]) % 128 == 0


def test_the_table_loaders_script_makes_valid_tables() -> None:
    """As firmware runs it: pointers are moved to where the files were put, then sums are made."""
    found = files(fw_cfg.Firmware(64 * MIB, 2))
    assert "etc/sercon-port" not in found
    assert files(fw_cfg.Firmware(64 * MIB, 2, serial=True))["etc/sercon-port"] == (0x3F8).to_bytes(2, "little")
    memory = bytearray(0x20000)
    at: dict[str, int] = {}
    for command in struct.iter_unpack("<I124s", found[fw_cfg.LOADER_FILE]):
        kind, body = command
        name = body[:56].rstrip(b"\0").decode()
        if kind == fw_cfg.ALLOCATE:
            at[name] = 0x1000 + 0x8000 * len(at)
            memory[at[name] : at[name] + len(found[name])] = found[name]
        elif kind == fw_cfg.ADD_POINTER:
            to = body[56:112].rstrip(b"\0").decode()
            offset, size = struct.unpack_from("<IB", body, 112)
            where = slice(at[name] + offset, at[name] + offset + size)
            memory[where] = (int.from_bytes(memory[where], "little") + at[to]).to_bytes(size, "little")
        else:
            offset, start, length = struct.unpack_from("<III", body, 56)
            total = sum(memory[at[name] + start : at[name] + start + length])
            memory[at[name] + offset] = (memory[at[name] + offset] - total) & 0xFF
    rsdp = at[fw_cfg.RSDP_FILE]
    assert memory[rsdp : rsdp + 8] == b"RSD PTR " and sum(memory[rsdp : rsdp + 36]) & 0xFF == 0
    (xsdt,) = struct.unpack_from("<Q", memory, rsdp + 24)

    def table(address: int) -> bytes:
        data = bytes(memory[address : address + int.from_bytes(memory[address + 4 : address + 8], "little")])
        assert sum(data) & 0xFF == 0
        return data

    entries = struct.unpack_from("<2Q", table(xsdt), 36)
    assert [table(entry)[:4] for entry in entries] == [b"FACP", b"APIC"]
    (dsdt,) = struct.unpack_from("<Q", table(entries[0]), 140)
    assert table(dsdt)[:4] == b"DSDT"


@pytest.mark.skipif(not SEABIOS.exists(), reason=f"{SEABIOS} is not there: Debian's package seabios has it")
def test_seabios_comes_to_its_end() -> None:
    """Without a drive it looks for one, and resets the machine after a minute; equal in vtx and bare."""
    counts = []
    for accel in Accel:
        items = tuple(fw_cfg.items(fw_cfg.Firmware(64 * MIB, 1)))
        spec = MachineSpec(memory=64 * MIB, accel=accel, firmware=SEABIOS.read_bytes(), items=items)
        with Machine(spec) as machine:
            end = machine.run(Limits(count=100_000_000))
            log = machine.receive(DEBUG_PORT).data
            assert end.kind is ExitKind.RESET, (end, log[-200:])
            assert b"SeaBIOS (version" in log and b"No bootable device." in log
            assert b"table(50434146)=" in log, "FACP by way of our XSDT"
            counts.append((end.count, end.time))
    assert counts[0] == counts[1]
