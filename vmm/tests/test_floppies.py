"""Floppies whole: SeaBIOS starts from media of every size, a guest reads and writes, a snapshot in mid-read goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import assemble

from bringup.vmm import spec
from bringup.vmm.boot import boot_order, fw_cfg
from bringup.vmm.machine import DEBUG_PORT, ExitKind, Limits, Machine
from bringup.vmm.spec import MIB, Accel, MachineSpec

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
SECTOR = 512
CYLINDERS = 4
END = Limits(count=300_000_000)
# KiB: heads and sectors of a track.
FORMATS = {160: (1, 8), 180: (1, 9), 320: (2, 8), 360: (2, 9), 720: (2, 9), 1200: (2, 15), 1440: (2, 18), 2880: (2, 36)}

pytestmark = pytest.mark.skipif(not SEABIOS.exists(), reason=f"{SEABIOS} is not there: Debian's package seabios has it")


# Head 0's track of cylinder 3, over that of cylinder 0.
COPY = "mov cx, 0x0301; mov dx, 0; call read; jc fail; mov cx, 1; mov ah, 3; call transfer; jc fail"


def boot_sector(heads: int, sectors: int, write: bool = False) -> bytes:
    """Reads the first cylinders, a track a time, by INT 13h and shows the sum of their words at E9h; `write` writes the
    last track over the first before."""
    source = f"""
        .code16
        .intel_syntax noprefix
            cli; xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7c00; sti
            mov ax, 0x1000; mov es, ax
            xor bp, bp
            {COPY if write else ""}
            mov si, {CYLINDERS}
            xor cx, cx
        cylinder:
            xor dx, dx
        track:
            mov cl, 1
            call read
            jc fail
            push cx
            mov cx, {sectors * SECTOR // 2}
            xor di, di
        sum:
            add bp, es:[di]
            add di, 2
            loop sum
            pop cx
            inc dh
            cmp dh, {heads}
            jne track
            inc ch
            dec si
            jnz cylinder
            mov al, 'S'
        show:
            out 0xe9, al
            mov ax, bp
            out 0xe9, al
            mov al, ah
            out 0xe9, al
            cli; hlt
        fail:
            mov bp, ax
            mov al, 'F'
            jmp show
        read:
            mov ah, 2
        transfer:
            mov al, {sectors}
            xor bx, bx
            int 0x13
            ret
    """
    return assemble(source).ljust(510, b"\0") + b"\x55\xaa"


def make_image(path: Path, kib: int, write: bool = False) -> int:
    """Words that differ in each sector; the sum that the guest shows."""
    heads, sectors = FORMATS[kib]
    data = bytearray(b"".join((n * 0x9E37 & 0xFFFF).to_bytes(2, "little") * 256 for n in range(kib * 2)))
    data[:SECTOR] = boot_sector(heads, sectors, write)
    path.write_bytes(data)
    track = sectors * SECTOR
    if write:
        data[:track] = data[3 * heads * track : (3 * heads + 1) * track]
    return sum(int.from_bytes(data[at : at + 2], "little") for at in range(0, CYLINDERS * heads * track, 2)) & 0xFFFF


def floppy_spec(path: Path, accel: Accel = Accel.VTX, write: bool = False) -> MachineSpec:
    drives = spec.place_drives([spec.parse_drive(f"file={path},if=floppy,format=raw")])
    order = boot_order.paths(boot_order.parse("order=a"), drives)
    items = tuple(fw_cfg.items(fw_cfg.Firmware(16 * MIB, 1, [], order)))
    return MachineSpec(
        memory=16 * MIB, accel=accel, firmware=SEABIOS.read_bytes(), items=items, drives=drives, write=write
    )


def said(machine: Machine) -> bytes:
    return machine.receive(DEBUG_PORT).data[-3:]


@pytest.mark.parametrize("kib", FORMATS)
def test_media_of_every_size(tmp_path: Path, kib: int) -> None:
    total = make_image(tmp_path / "floppy", kib)
    ends = []
    for accel in Accel:
        with Machine(floppy_spec(tmp_path / "floppy", accel)) as machine:
            ends.append(machine.run(END))
            assert ends[-1].kind is ExitKind.IDLE_FOREVER, ends[-1]
            assert said(machine) == b"S" + total.to_bytes(2, "little")
    assert ends[0] == ends[1]


@pytest.mark.parametrize("write", [False, True])
def test_what_a_guest_writes(tmp_path: Path, write: bool) -> None:
    total = make_image(tmp_path / "floppy", 1440, write=True)
    before = (tmp_path / "floppy").read_bytes()
    with Machine(floppy_spec(tmp_path / "floppy", write=write)) as machine:
        assert machine.run(END).kind is ExitKind.IDLE_FOREVER
        assert said(machine) == b"S" + total.to_bytes(2, "little")
    track = 18 * SECTOR
    expected = before[3 * 2 * track : 7 * track] + before[track:] if write else before
    assert (tmp_path / "floppy").read_bytes() == expected


@pytest.mark.parametrize("accel", list(Accel), ids=lambda accel: accel.name.lower())
def test_a_snapshot_in_the_middle_of_a_read_goes_on_to_the_same_count(tmp_path: Path, accel: Accel) -> None:
    """Between two sectors of one READ DATA: the guest is in SeaBIOS's wait, and the controller is busy."""
    total = make_image(tmp_path / "floppy", 1440)
    machine_spec = floppy_spec(tmp_path / "floppy", accel)
    with Machine(machine_spec) as machine, Machine(machine_spec) as other:
        transfers: list[int] = []
        plain = machine._drives.transfer

        def transfer(number: int, offset: int, data: memoryview, write: bool) -> int:
            transfers.append(offset // SECTOR)
            return plain(number, offset, data, write)

        machine._drives.transfer = transfer  # type: ignore[method-assign]
        while len(transfers) < 50:
            assert machine.run(Limits(count=machine.count + 2_000)).kind is ExitKind.LIMIT
        assert transfers[-1] == transfers[-2] + 1 and (transfers[-1] + 1) % 18
        snapshot = machine.save()
        seen = len(transfers)
        end = machine.run(END)
        assert end.kind is ExitKind.IDLE_FOREVER
        assert said(machine) == b"S" + total.to_bytes(2, "little")
        assert transfers[seen] == transfers[seen - 1] + 1
        other.restore(snapshot)
        assert other.run(END) == end
        assert said(other) == b"S" + total.to_bytes(2, "little")
        assert other.state_hash() == machine.state_hash()
