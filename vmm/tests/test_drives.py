"""Drives as options name them, as the core reads them, and as SeaBIOS starts from them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from cdimage import IMAGE, SECTOR, cd, entry, validation
from hypothesis import given
from hypothesis import strategies as st
from qcow2image import Builder, pattern

from bringup.vmm import spec
from bringup.vmm.boot import boot_order, fw_cfg
from bringup.vmm.drives import Drives
from bringup.vmm.machine import DEBUG_PORT, Exit, ExitKind, Limits, Machine
from bringup.vmm.spec import ANYWHERE, MIB, Accel, Drive, MachineSpec, SpecError
from bringup.vmm.storage import Kind, Overlay, StorageError

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
needs_seabios = pytest.mark.skipif(not SEABIOS.exists(), reason=f"{SEABIOS} is not there: Debian's package seabios")


# ---- options ----


@pytest.mark.parametrize(
    ("text", "drive"),
    [
        ("file=a.img", Drive(Kind.DISK, Path("a.img"), ANYWHERE)),
        ("file=a,,b.img,index=3", Drive(Kind.DISK, Path("a,b.img"), 3)),
        ("file=,,,,,format=raw", Drive(Kind.DISK, Path(",,"), ANYWHERE, "raw")),
        ("format=qcow2,file=x,if=ide,readonly=on", Drive(Kind.DISK, Path("x"), ANYWHERE, "qcow2", True)),
        ("file=x.iso,media=cdrom,index=1", Drive(Kind.CDROM, Path("x.iso"), 1)),
        ("media=cdrom", Drive(Kind.CDROM, None, ANYWHERE)),
        ("file=a=b,if=floppy,index=1", Drive(Kind.FLOPPY, Path("a=b"), 5)),
    ],
)
def test_drives(text: str, drive: Drive) -> None:
    assert spec.parse_drive(text) == drive


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is none of file="),
        ("a.img", "'a.img' is none of file=, format=, if=, index=, media=, readonly="),
        ("file=x,cache=none", "'cache=none' is none of"),
        ("file=x,format=vmdk", "format=vmdk is none of raw, qcow2"),
        ("file=x,if=scsi", "if=scsi is none of ide, floppy"),
        ("file=x,media=tape", "media=tape is none of"),
        ("file=x,readonly=yes", "readonly=yes is none of on, off"),
        ("file=x,index=4", "index=4: there are 0 to 3"),
        ("file=x,if=floppy,index=2", "index=2: there are 0 to 1"),
        ("file=x,index=one", "not a whole number"),
        ("file=x,if=floppy,media=cdrom", "a floppy drive takes none"),
        ("format=raw", "file= is missing"),
    ],
)
def test_what_is_no_drive(text: str, complaint: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec.parse_drive(text)
    assert complaint in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_drive_or_an_error(text: str) -> None:
    try:
        drive = spec.parse_drive(text)
    except SpecError:
        return
    assert drive.number in (ANYWHERE, *range(6))


def test_places() -> None:
    texts = ["file=a", "file=b,media=cdrom", "file=c,index=0", "file=d,media=cdrom", "file=e,if=floppy", "file=f"]
    with pytest.raises(SpecError, match="f: all places for a disk are taken"):
        spec.place_drives(map(spec.parse_drive, texts))
    placed = spec.place_drives(map(spec.parse_drive, texts[:-1]))
    assert [drive.number for drive in placed] == [1, 2, 0, 3, 4]
    with pytest.raises(SpecError, match="y: another drive has its place"):
        spec.place_drives(map(spec.parse_drive, ["file=x,index=1", "file=y,index=1,media=cdrom"]))
    with pytest.raises(SpecError, match="two drives have the same place"):
        MachineSpec(drives=(Drive(Kind.DISK, None, 0), Drive(Kind.DISK, None, 0)))


@pytest.mark.parametrize("text", ["", "acd", "order=", "order=x", "order=aa", "order=ac,menu=on"])
def test_what_is_no_boot_order(text: str) -> None:
    with pytest.raises(SpecError):
        boot_order.parse(text)


def test_boot_order() -> None:
    drives = spec.place_drives(map(spec.parse_drive, ["file=d,media=cdrom", "file=b,if=floppy", "file=a,index=3"]))
    assert boot_order.paths(boot_order.parse("order=dnca"), drives) == [
        "/pci@i0cf8/ide@1,1/drive@1/disk@0",
        "/pci@i0cf8/ethernet@3/ethernet-phy@0",
        "/pci@i0cf8/ide@1,1/drive@1/disk@1",
        "/pci@i0cf8/isa@1/fdc@03f0/floppy@0",
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--drive", "file=missing.img"], "missing.img: no such file or directory"),
        (["--drive", "file=x,index=7"], "argument --drive: 'file=x,index=7': index=7"),
        (["--cdrom", "floppy.img"], "floppy.img: is an image of a 1.44 MB floppy, and not a CD: --floppy"),
        (["--floppy", "cd.iso"], "cd.iso: is a CD image (ISO 9660), and not a floppy: --cdrom"),
        (["--floppy", "floppy.img", "--floppy", "floppy.img", "--floppy", "floppy.img"], "all places for a floppy"),
        (["--write", "--drive", "file=disk.qcow2"], "a qcow2 image is never written"),
        (["--drive", "file=short.qcow2"], "short.qcow2, offset 0x28: the first table at 0x1000 lies outside"),
        (["--boot", "order=q"], "argument --boot: 'order=q'"),
        (["--write", "--floppy", "floppy.img", "--floppy", "link.img"], "link.img: is in two drives: with --write"),
        (
            ["--write", "--floppy", "floppy.img", "--drive", "file=floppy.img,readonly=on"],
            "floppy.img: is in two drives",
        ),
        (["--drive", "file=a\nb\x1b[2J"], "bringup: a?b?[2J: no such file or directory"),
        (
            ["--bios", "floppy.img"],
            "the firmware floppy.img has 1474560 bytes: it must be a multiple of 64K, at most 16M",
        ),
        (["--vgabios", "big"], "the VGA BIOS big has 17825792 bytes: it must be at most 16M"),
        (["--bios", "big"], "the firmware big has 17825792 bytes: it must be a multiple of 64K, at most 16M"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(tmp_path: Path, options: list[str], complaint: str) -> None:
    (tmp_path / "floppy.img").write_bytes(bytes(1440 << 10))
    (tmp_path / "cd.iso").write_bytes(cd())
    builder = Builder()
    (tmp_path / "disk.qcow2").write_bytes(builder.build())
    (tmp_path / "short.qcow2").write_bytes(builder.build()[: builder.cluster])
    (tmp_path / "bios").write_bytes(b"\xf4" * 0x10000)
    (tmp_path / "link.img").hardlink_to(tmp_path / "floppy.img")
    (tmp_path / "big").touch()
    os.truncate(tmp_path / "big", 17 << 20)
    command = [sys.executable, "-m", "bringup.vmm.run", "--bios", "bios", *options]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert complaint in done.stderr and done.stderr.count("\n") == 1, done.stderr


# ---- what the core is answered ----


def opened(
    path: Path, kind: Kind = Kind.DISK, *, write: bool = False, read_only: bool = False
) -> tuple[Drives, list[str]]:
    complaints: list[str] = []
    return Drives([Drive(kind, path, 0, None, read_only)], write, complaints.append), complaints


def test_transfers(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"".join(pattern(n, 512) for n in range(64)))
    drives, complaints = opened(path)
    data = bytearray(1024)
    assert drives.transfer(0, 512, memoryview(data), False) == 0 and data == pattern(1, 512) + pattern(2, 512)
    assert drives.transfer(0, 512, memoryview(bytearray(b"z" * 512)), True) == 0
    assert drives.transfer(0, 512, memoryview(data), False) == 0 and data[:512] == b"z" * 512
    assert drives.transfer(0, 63 * 512, memoryview(data), False) == 1
    assert drives.transfer(1, 0, memoryview(data), False) == 1
    assert complaints == []
    drives.close()
    drives.close()
    assert path.read_bytes()[512:1024] == pattern(1, 512)


def test_a_protected_medium_and_a_file_that_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8192))
    drives, complaints = opened(path, read_only=True)
    assert drives.transfer(0, 0, memoryview(bytearray(512)), True) == 2
    path.write_bytes(bytes(4096))
    for _ in range(3):
        assert drives.transfer(0, 4096, memoryview(bytearray(512)), False) == 3
    assert len(complaints) == 2 and complaints[1] == f"{path}, offset 0x1000: the file ends here"
    drives.close()


def test_a_host_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    drives, complaints = opened(path)

    def write(self: Overlay, offset: int, data: memoryview) -> None:
        raise MemoryError

    monkeypatch.setattr(Overlay, "write", write)
    assert drives.transfer(0, 0, memoryview(bytearray(512)), True) == 4
    assert complaints == ["the host has no memory for what the guest writes to a drive"]
    drives.close()


def test_a_file_in_two_drives(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    pair = [Drive(Kind.DISK, path, 0), Drive(Kind.DISK, path, 1)]
    Drives(pair, False, print).close()
    Drives([Drive(Kind.DISK, path, number, None, True) for number in range(2)], True, print).close()
    with pytest.raises(StorageError, match="is in two drives"):
        Drives(pair, True, print)


def test_nothing_is_left_open_when_one_is_wrong(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(bytes(4096))
    with pytest.raises(StorageError):
        Drives([Drive(Kind.DISK, good, 0), Drive(Kind.DISK, tmp_path / "missing", 1)], True, print)
    drives, _ = opened(good, write=True)  # so nobody else has it locked
    drives.close()


# ---- starting from them ----

# What a boot sector does: it says `name`, reads sector `next` (of 512 bytes, or 2048 on a CD without emulation) by the
# BIOS and prints what is there.
BOOT = """
.intel_syntax noprefix
.code16
.macro print at:vararg
    mov si, \\at
1:  lodsb
    test al, al
    jz 2f
    out 0xe9, al
    jmp 1b
2:
.endm
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov [0x7b00], dl
    print offset name
    mov dl, [0x7b00]
    {read}
    jc failed
    print 0x8000
    {write}
halt: cli
    hlt
failed: mov al, '!'
    out 0xe9, al
    jmp halt
name: .asciz "{name} "
packet: .byte 16, 0, 1, 0
    .word 0x8000, 0
    .quad {lba}
    .org 510
    .word 0xaa55
"""
BY_CHS = "mov ax, 0x0201; mov bx, 0x8000; mov cx, 2; mov dh, 0; int 0x13"
BY_LBA = "mov si, offset packet; mov ah, 0x42; int 0x13"
# Writes "written" to the sector that was read.
WRITE = """
    mov dword ptr [0x8000], 0x74697277
    mov dword ptr [0x8004], 0x006e6574
    mov dl, [0x7b00]
    mov ax, 0x0301; mov bx, 0x8000; mov cx, 2; mov dh, 0; int 0x13
    jc failed
"""


def boot_sector(name: str, read: str = BY_CHS, write: str = "", lba: int = 1) -> bytes:
    return tiny.assemble(BOOT.format(name=name, read=read, write=write, lba=lba))


def disk_image(name: str, size: int = 2 * MIB, read: str = BY_CHS, write: str = "") -> bytes:
    return (boot_sector(name, read, write) + b"second sector\0").ljust(size, b"\0")


Boot = Callable[..., str]


@pytest.fixture(params=[Accel.VTX])
def boot(request: pytest.FixtureRequest) -> Boot:
    def boot(*drives: str, order: str = "order=cad", write: bool = False, accel: Accel = request.param) -> str:
        """What the guest printed after SeaBIOS gave it control; with how many instructions, when asked."""
        placed = spec.place_drives(map(spec.parse_drive, drives))
        firmware = fw_cfg.Firmware(32 * MIB, 1, [], boot_order.paths(boot_order.parse(order), placed))
        machine_spec = MachineSpec(
            memory=32 * MIB,
            accel=accel,
            firmware=SEABIOS.read_bytes(),
            items=tuple(fw_cfg.items(firmware)),
            drives=placed,
            write=write,
        )
        with Machine(machine_spec) as machine:
            end: Exit = machine.run(Limits(count=200_000_000))
            log = machine.receive(DEBUG_PORT).data.decode(errors="replace")
            assert end.kind is ExitKind.IDLE_FOREVER, (end, log[-400:])
            return log.rpartition("Booting from 0000:7c00\n")[2] or log

    return boot


@needs_seabios
@pytest.mark.parametrize("read", [BY_CHS, BY_LBA], ids=["chs", "lba"])
def test_a_disk(boot: Boot, tmp_path: Path, read: str) -> None:
    (tmp_path / "disk").write_bytes(disk_image("disk", read=read))
    assert boot(f"file={tmp_path}/disk") == "disk second sector"


@needs_seabios
def test_a_qcow2_disk_as_secondary_slave_equal_in_vtx_and_bare(boot: Boot, tmp_path: Path) -> None:
    builder = Builder(clusters=512, bits=12)
    content = disk_image("qcow2", read=BY_LBA)
    builder.put_compressed(0, content[:4096])
    (tmp_path / "disk").write_bytes(builder.build())
    for accel in Accel:
        assert boot(f"file={tmp_path}/disk,index=3", accel=accel) == "qcow2 second sector"


@needs_seabios
@pytest.mark.parametrize("write", [False, True])
def test_a_guest_that_writes(boot: Boot, tmp_path: Path, write: bool) -> None:
    path = tmp_path / "disk"
    before = disk_image("disk", write=WRITE)
    path.write_bytes(before)
    assert boot(f"file={path}", write=write) == "disk second sector"
    if write:
        assert path.read_bytes()[512:520] == b"written\0"
        assert boot(f"file={path}") == "disk written"
    else:
        assert path.read_bytes() == before


@needs_seabios
@pytest.mark.parametrize(
    "reset",
    ["mov al, 0xfe; out 0x64, al", "mov dx, 0xcf9; mov al, 6; out dx, al", "in al, 0x92; or al, 1; out 0x92, al"],
    ids=["i8042", "cf9", "port-92"],
)
def test_a_reset_starts_the_firmware_again_and_keeps_what_was_written(tmp_path: Path, reset: str) -> None:
    """Equal in vtx and bare; the medium itself does not change."""
    written = "cmp byte ptr [0x8000], 'w'; je halt" + WRITE + reset
    before = disk_image("disk", write=written)
    (tmp_path / "disk").write_bytes(before)
    drives = spec.place_drives([spec.parse_drive(f"file={tmp_path}/disk")])
    items = tuple(fw_cfg.items(fw_cfg.Firmware(32 * MIB, 1)))
    states = []
    for accel in Accel:
        machine_spec = MachineSpec(
            memory=32 * MIB, accel=accel, firmware=SEABIOS.read_bytes(), items=items, drives=drives
        )
        with Machine(machine_spec) as machine:
            assert machine.run(Limits(count=200_000_000)).kind is ExitKind.RESET
            first, count, ended = machine.receive(DEBUG_PORT).data, machine.count, machine.time
            machine.reset()
            assert (machine.count, machine.time) == (count, ended)
            assert machine.run(Limits(count=400_000_000)).kind is ExitKind.IDLE_FOREVER
            second = machine.receive(DEBUG_PORT).data
            states.append((machine.count, machine.time, machine.state_hash()))
        assert first.startswith(b"SeaBIOS (version") and first.endswith(b"disk second sector")
        assert second.startswith(b"SeaBIOS (version") and second.endswith(b"disk written")
    assert states[0] == states[1]
    assert (tmp_path / "disk").read_bytes() == before


@needs_seabios
def test_a_cd_without_emulation(boot: Boot, tmp_path: Path) -> None:
    sector = boot_sector("cd", read=BY_LBA, lba=IMAGE + 1)
    image = sector.ljust(SECTOR, b"\0") + b"second sector\0"
    (tmp_path / "cd").write_bytes(cd(validation() + entry(sectors=4), image=image))
    assert boot(f"file={tmp_path}/cd,media=cdrom") == "cd second sector"


@needs_seabios
@pytest.mark.parametrize(("media", "kib"), [(1, 1200), (2, 1440), (3, 2880), (4, 2048)])
def test_a_cd_that_emulates(boot: Boot, tmp_path: Path, media: int, kib: int) -> None:
    image = bytearray(disk_image("image", kib << 10))
    if media == 4:
        partition = struct.pack("<BBBBBBBBII", 0x80, 0, 2, 0, 6, 15, 63, 3, 1, (kib << 1) - 1)
        image[0x1BE : 0x1BE + 16] = partition
    catalog = validation() + entry(media=media, sectors=1, system=6 if media == 4 else 0)
    (tmp_path / "cd").write_bytes(cd(catalog, sectors=IMAGE + kib // 2 + 1, image=bytes(image)))
    assert boot(f"file={tmp_path}/cd,media=cdrom") == "image second sector"


@needs_seabios
def test_the_order(boot: Boot, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(disk_image("disk"))
    image = boot_sector("cd", read=BY_LBA, lba=IMAGE + 1).ljust(SECTOR, b"\0") + b"second sector\0"
    (tmp_path / "cd").write_bytes(cd(validation() + entry(sectors=4), image=image))
    drives = (f"file={tmp_path}/disk", f"file={tmp_path}/cd,media=cdrom")
    assert boot(*drives).startswith("disk ") and boot(*drives, order="order=d").startswith("cd ")


# ---- snapshots ----


@needs_seabios
def test_a_snapshot_has_what_was_written(tmp_path: Path) -> None:
    """Saved after the guest has written to its overlay, restored in another machine that then reads it."""
    path = tmp_path / "disk"
    path.write_bytes(disk_image("disk", write=WRITE))
    drives = spec.place_drives([spec.parse_drive(f"file={path}")])
    items = tuple(fw_cfg.items(fw_cfg.Firmware(32 * MIB, 1)))
    machine_spec = MachineSpec(memory=32 * MIB, firmware=SEABIOS.read_bytes(), items=items, drives=drives)
    with Machine(machine_spec) as machine, Machine(machine_spec) as other:
        assert machine.run(Limits(count=200_000_000)).kind is ExitKind.IDLE_FOREVER
        other.restore(machine.save())
        assert other.state_hash() == machine.state_hash()
        other.reset()
        assert other.run(Limits(count=400_000_000)).kind is ExitKind.IDLE_FOREVER
        assert b"disk written" in other.receive(DEBUG_PORT).data


def test_snapshots_of_overlays(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(200_000))
    drives, _ = opened(path)
    before = drives.save()
    assert drives.transfer(0, 199_680, memoryview(bytearray(b"x" * 512)), True) == 0
    saved = drives.save()
    drives.restore(before)
    data = bytearray(512)
    assert drives.transfer(0, 199_680, memoryview(data), False) == 0 and data == bytes(512)
    drives.restore(saved)
    assert drives.transfer(0, 199_680, memoryview(data), False) == 0 and data == b"x" * 512
    for bad in (saved[:-1], saved[:5], saved + b"x", b"\1" + saved[1:], saved[:1] + b"\xff" + saved[2:]):
        with pytest.raises(ValueError):
            drives.restore(bad)
        assert drives.save() == saved, "nothing has changed"
    drives.close()
