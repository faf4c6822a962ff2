"""Images for tests: a few sectors each, with what a BIOS or a kernel loader looks at."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from bringup.harness.media import recipes

SECTOR = 512
SIGNATURE = b"\x55\xaa"


def at(size: int, **places: bytes) -> bytes:
    """So many bytes, with these at these offsets: `at(512, x0=b"a", x1FE=b"b")`."""
    data = bytearray(size)
    for place, content in places.items():
        start = int(place.removeprefix("x"), 16)
        data[start : start + len(content)] = content
    return bytes(data)


def made(recipe: str, inputs: dict[str, Path], **parameters: str) -> bytes:
    """What a recipe makes."""
    output = io.BytesIO()
    recipes.load(recipe).make(inputs, parameters, output)
    return output.getvalue()


def fat(kib: int, *names: str, label: str = "", oem: bytes = b"TEST 1.0", text: bytes = b"") -> bytes:
    """A floppy with these files, 8.3, in its root folder, and a text in its boot sector."""
    sectors = kib * 2
    entries = [(name.partition(".")[0].ljust(8) + name.partition(".")[2].ljust(3), 0x20) for name in names]
    folder = [b"\xe5gone".ljust(32), b"Along" + bytes(6) + b"\x0f" + bytes(20)]
    folder += [label.ljust(11).encode() + b"\x08" + bytes(20)] if label else []
    folder += [name.encode() + bytes([kind]) + bytes(20) for name, kind in entries]
    bpb = struct.pack("<HBHBHHBH", SECTOR, 1, 1, 2, 224, sectors, 0xF0, 9)
    return at(kib << 10, x3=oem, xB=bpb, x40=text, x1FE=SIGNATURE, x2600=b"".join(folder))


def fat32(*names: str) -> bytes:
    """A partition's beginning: its root folder is in cluster 3."""
    head = struct.pack("<HBHBHHBH", SECTOR, 2, 32, 2, 0, 0, 0xF8, 0) + struct.pack(
        "<HHIIIHHI", 63, 255, 0, 70000, 40, 0, 0, 3
    )
    folder = b"".join((n.partition(".")[0].ljust(8) + n.partition(".")[2].ljust(3)).encode() + bytes(21) for n in names)
    root = (32 + 2 * 40 + 2) * SECTOR
    return at(root + 4096, xB=head, x1FE=SIGNATURE)[:root] + folder.ljust(4096, b"\0")


def disk(*partitions: tuple[int, bytes], code: bytes = b"", size: int = 1 << 20) -> bytes:
    """An MBR with partitions (type, content) of 256 KiB each, the first active."""
    data = bytearray(at(size, x0=code, x1FE=SIGNATURE))
    for number, (kind, content) in enumerate(partitions):
        first, count = 512 * (number + 1), 512
        entry = struct.pack("<B3xB3xII", 0x80 if number == 0 else 0, kind, first, count)
        data[0x1BE + 16 * number : 0x1CE + 16 * number] = entry
        data[first * SECTOR : first * SECTOR + len(content)] = content
    return bytes(data)


def qcow2(content: bytes) -> bytes:
    """A version 2 image of 64 KiB clusters: header, L1 table, L2 table, the clusters. (QEMU, docs/interop/qcow2.rst)"""
    cluster = 1 << 16
    count = -(-len(content) // cluster)
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, count * cluster, 0, 1, cluster, 3 * cluster, 1, 0, 0
    )
    l2 = struct.pack(f">{count}Q", *((5 + number) * cluster | 1 << 63 for number in range(count)))
    refcounts = struct.pack(f">{5 + count}H", *[1] * (5 + count))
    tables = (header, struct.pack(">Q", 2 * cluster | 1 << 63), l2, struct.pack(">Q", 4 * cluster), refcounts)
    return b"".join(table.ljust(cluster, b"\0") for table in tables) + content.ljust(count * cluster, b"\0")


def bzimage(version: bytes, wide: bool = True) -> bytes:
    """The head of a Linux kernel (Linux, Documentation/arch/x86/boot.rst)."""
    version_at = struct.pack("<H", 0x400 - 0x200)
    flags = bytes([1 if wide else 0])
    return at(8192, x1FE=SIGNATURE, x202=b"HdrS\x0c\x02", x20E=version_at, x236=flags, x400=version + b"\0")


def speaking_floppy(text: str) -> bytes:
    """A floppy whose boot sector says this on COM1 and halts."""
    # cli; xor ax, ax; mov ds, ax; cld; mov si, 7C80h; lodsb; test al, al; jz end; mov ah, al; mov dx, 3FDh; in al, dx;
    # test al, 20h; jz in; mov al, ah; mov dx, 3F8h; out dx, al; jmp lodsb; end: hlt; jmp end
    code = bytes.fromhex("fa31c08ed8fcbe807cac84c0741288c4bafd03eca82074fb88e0baf803eeebe9f4ebfd")
    return at(1440 << 10, x0=code, x80=text.encode() + b"\r\n\0", x1FE=SIGNATURE)


def scrolling_floppy() -> bytes:
    """A floppy whose boot sector writes the lines 0000 to 02FF into the text screen, scrolling it for each, and halts:
    in two thousand instructions each."""
    # mov ax, b800h; mov ds, ax; mov es, ax; xor bp, bp; cld; next: mov si, 160; xor di, di; mov cx, 1920; rep movsw;
    # mov cx, 80; mov ax, 0720h; rep stosw; mov di, 3840; mov dx, bp; mov cx, 4; digit: rol dx, 4; mov al, dl;
    # and al, 15; cmp al, 10; sbb al, 69h; das; stosb; inc di; loop digit; inc bp; cmp bp, 300h; jne next; cli; hlt
    code = bytes.fromhex(
        "b800b88ed88ec031edfcbea00031ffb98007f3a5b95000b82007f3abbf000f89eab90400c1c20488d0240f3c0a1c692faa47e2f0"
        "4581fd000375cffaf4"
    )
    return at(1440 << 10, x0=code, x1FE=SIGNATURE)


def kernel(text: str) -> bytes:
    """A multiboot kernel that says this."""
    return made("dialogue", {}, script=f"| {text}\n? # \n> *")


def elf(text: bytes, bits: int = 32) -> bytes:
    """The head of an ELF file with a multiboot header, and a text."""
    header = struct.pack("<3I", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF)
    return at(65536, x0=b"\x7fELF" + bytes([bits // 32, 1]), x40=header, xC000=text)
