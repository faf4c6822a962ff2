"""Multiboot 1: images that the tests put together, read back as a kernel would read them."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from bringup.vmm import boot
from bringup.vmm.boot import BootError, Image, acpi, multiboot, protocol
from bringup.vmm.boot.multiboot import Module, MultibootBoot
from bringup.vmm.machine import CS, RBX, SS, TR, ExitKind, Limits, Machine
from bringup.vmm.spec import GIB, KIB, MIB, Accel, MachineSpec

CODE = bytes(range(256)) * 16


def header(flags: int = 0, *addresses: int, magic: int = multiboot.MAGIC) -> bytes:
    return struct.pack(f"<3I{len(addresses)}I", magic, flags, -(magic + flags) & 0xFFFFFFFF, *addresses)


class Part(NamedTuple):
    """A program header of `elf` and what it loads."""

    paddr: int = MIB
    data: bytes = header() + CODE
    memsz: int | None = None
    vaddr: int | None = None
    kind: int = multiboot.PT_LOAD
    filesz: int | None = None


def elf(*parts: Part, entry: int = MIB + 12, wide: bool = False, machine: int = 3, data_encoding: int = 1) -> bytes:
    """An ELF executable of 32 or 64 bits."""
    parts = parts or (Part(),)
    head, entry_size = (64, 56) if wide else (52, 32)
    offset = head + entry_size * len(parts)
    headers, body = b"", b""
    for part in parts:
        filesz = len(part.data) if part.filesz is None else part.filesz
        memsz = filesz if part.memsz is None else part.memsz
        vaddr = part.paddr if part.vaddr is None else part.vaddr
        at = offset + len(body)
        headers += (
            struct.pack("<IIQQQQQQ", part.kind, 7, at, vaddr, part.paddr, filesz, memsz, 4096)
            if wide
            else struct.pack("<8I", part.kind, at, vaddr, part.paddr, filesz, memsz, 7, 4096)
        )
        body += part.data
    ident = b"\x7fELF" + bytes([2 if wide else 1, data_encoding, 1]) + bytes(9)
    layout = "<HHIQQQI6H" if wide else "<HHIIIII6H"
    return (
        ident
        + struct.pack(layout, 2, machine, 1, entry, head, 0, 0, head, entry_size, len(parts), 40, 0, 0)
        + headers
        + body
    )


def kludge(
    load: int = MIB, load_end: int = 0, bss_end: int = 0, entry: int = MIB + 32, *, before: bytes = b"", skew: int = 0
) -> bytes:
    """A flat image whose header has addresses; `before` are bytes of the file in front of what is loaded."""
    return before + header(multiboot.ADDRESS_FIELDS, load + skew, load, load_end, bss_end, entry) + CODE


def boot_image(tmp_path: Path, content: bytes, initrd: str = "", append: str = "", memory: int = 64 * MIB) -> Image:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    boot_ = protocol.recognise(path, initrd or None, append)
    assert isinstance(boot_, MultibootBoot)
    return boot_.image(memory)


def at(image: Image, gpa: int, size: int) -> bytes:
    """Bytes of an image's memory; no byte may be stated twice."""
    found = [
        bytes(data[gpa - base : gpa - base + size]) for base, data in image.chunks if base <= gpa < base + len(data)
    ]
    assert len(found) == 1
    return found[0]


def text(image: Image, gpa: int) -> str:
    raw, end, _ = at(image, gpa, 4096).partition(b"\0")
    assert end
    return raw.decode()


class Info(NamedTuple):
    """The multiboot information structure (3.3)."""

    flags: int
    mem_lower: int
    mem_upper: int
    boot_device: int
    cmdline: int
    mods_count: int
    mods_addr: int
    syms: bytes
    mmap_length: int
    mmap_addr: int
    drives: bytes
    boot_loader_name: int


def entry(image: Image) -> int:
    """Where the BIOS's code goes on, with the loader's magic number in EAX."""
    code = at(image, image.registers.rip, 64)
    set_eax = code.index(b"\xb8\x02\xb0\xad\x2b\xe9")
    (distance,) = struct.unpack_from("<i", code, set_eax + 6)
    return image.registers.rip + set_eax + 10 + int(distance)


def information(image: Image) -> Info:
    return Info(*struct.unpack("<7I16s2I12sI", at(image, image.registers.gpr[RBX], 68)))


def modules(image: Image) -> list[tuple[bytes, str]]:
    """Contents and text of each module."""
    info = information(image)
    assert info.flags == 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
    found = []
    for index in range(info.mods_count):
        start, end, string, reserved = struct.unpack("<4I", at(image, info.mods_addr + 16 * index, 16))
        assert start % 4096 == 0
        assert reserved == 0
        found.append((at(image, start, end - start), text(image, string)))
    return found


def assert_sound(image: Image, memory: int) -> None:
    """All in RAM or in the BIOS area, nothing twice."""
    ranges = sorted((gpa, gpa + len(data)) for gpa, data in image.chunks)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    ram = [(0, boot.EBDA), (acpi.RSDP, boot.HIGH), (boot.HIGH, boot.low_ram(memory))]
    assert all(any(low <= start and end <= high for low, high in ram) for start, end in ranges)


@pytest.mark.parametrize("wide", [False, True])
def test_an_elf_kernel(tmp_path: Path, wide: bool) -> None:
    content = elf(Part(), Part(4 * MIB, b"data", memsz=8192), Part(5, b"note", kind=4), wide=wide)
    image = boot_image(tmp_path, content)
    assert entry(image) == MIB + 12
    assert at(image, MIB + 12, len(CODE)) == CODE
    assert at(image, 4 * MIB, 4) == b"data"
    assert at(image, 4 * MIB + 4, 8188) == bytes(8188), "BSS is cleared, also when the machine starts again"
    assert_sound(image, 64 * MIB)


def test_the_state_at_entry(tmp_path: Path) -> None:
    image = boot_image(tmp_path, elf())
    registers = image.registers
    assert (registers.cr0, registers.cr4, registers.efer, registers.rflags) == (0x11, 0, 0, 2)
    for index in (CS, SS):
        segment = registers.segments[index]
        assert (segment.base, segment.limit) == (0, 0xFFFFFFFF)
        assert int.from_bytes(at(image, registers.gdt_base + segment.selector, 8), "little") == segment.descriptor()
    assert registers.segments[TR].access == 0x8B


def test_what_a_kernel_is_told(tmp_path: Path) -> None:
    image = boot_image(tmp_path, elf(), append="console=com1 debug")
    info = information(image)
    assert info.flags == 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9, "no modules"
    assert (info.mem_lower, info.mem_upper) == (639, 63 * KIB)
    assert text(image, info.cmdline) == f"{tmp_path / 'kernel'} console=com1 debug"
    assert text(image, info.boot_loader_name) == "bringup"
    assert info.mods_count == 0
    image = boot_image(tmp_path, elf())
    assert text(image, information(image).cmdline) == str(tmp_path / "kernel")


@pytest.mark.parametrize("memory", [2 * MIB, 512 * MIB, 8 * GIB])
def test_the_memory_map(tmp_path: Path, memory: int) -> None:
    image = boot_image(tmp_path, elf(), memory=memory)
    info = information(image)
    found = []
    offset = 0
    while offset < info.mmap_length:
        size, base, length, kind = struct.unpack("<IQQI", at(image, info.mmap_addr + offset, 24))
        found.append((base, length, kind))
        offset += size + 4
    assert found == list(boot.e820(memory))
    assert at(image, info.mmap_addr + info.mmap_length, 4) == bytes(4)


def test_modules(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two,half"
    one.write_bytes(b"1" * 5000)
    two.write_bytes(b"2")
    initrd = f"{one} first=1 more,{str(two).replace(',', ',,')},{one}"
    content = elf(Part(memsz=3 * MIB + 1))
    image = boot_image(tmp_path, content, initrd)
    assert modules(image) == [
        (b"1" * 5000, f"{one} first=1 more"),
        (b"2", str(two)),
        (b"1" * 5000, str(one)),
    ]
    assert struct.unpack("<I", at(image, information(image).mods_addr, 4)) == (4 * MIB + 4096,)
    assert_sound(image, 64 * MIB)


def test_the_address_fields(tmp_path: Path) -> None:
    size = 32 + len(CODE)
    image = boot_image(tmp_path, kludge())
    assert entry(image) == MIB + 32
    assert at(image, MIB + 32, len(CODE)) == CODE, "to the end of the file"
    image = boot_image(tmp_path, kludge(load_end=MIB + 100, bss_end=MIB + 8192))
    assert at(image, MIB + 32, 68) == CODE[:68]
    assert at(image, MIB + 100, 8092) == bytes(8092)
    image = boot_image(tmp_path, kludge(before=b"#!loader"))
    assert at(image, MIB, size) == kludge(), "the load address is that of the header less its distance"
    image = boot_image(tmp_path, kludge(before=b"#!loader", skew=8))
    assert at(image, MIB, size + 8)[:8] == b"#!loader"
    # They come first, even in an ELF file (3.1.3).
    flat = header(multiboot.ADDRESS_FIELDS, 2 * MIB, 2 * MIB, 0, 0, 2 * MIB + 32) + CODE
    image = boot_image(tmp_path, elf(Part(data=flat)))
    assert entry(image) == 2 * MIB + 32


def test_an_entry_that_is_a_virtual_address(tmp_path: Path) -> None:
    image = boot_image(tmp_path, elf(Part(vaddr=0xC0100000), entry=0xC010000C))
    assert entry(image) == MIB + 12
    image = boot_image(tmp_path, elf(Part(vaddr=2**64 - 2 * GIB + MIB), entry=2**64 - 2 * GIB + MIB + 12, wide=True))
    assert entry(image) == MIB + 12


@pytest.mark.parametrize("base", [0x1000, 0x4000, 0x9000, 0x20000])
def test_a_kernel_in_conventional_memory(tmp_path: Path, base: int) -> None:
    """kvm-unit-tests' realmode lies at 16 KiB: the information makes room."""
    image = boot_image(tmp_path, elf(Part(base, memsz=0x8000), entry=base + 12), append="x")
    assert_sound(image, 64 * MIB)
    assert information(image).mem_lower == 639


def test_a_header_may_stand_anywhere_in_the_first_8_kib(tmp_path: Path) -> None:
    pad = 8192 - 12 - 52 - 32
    last = Part(data=bytes(pad) + header() + CODE)
    assert entry(boot_image(tmp_path, elf(last))) == MIB + 12
    for data in (bytes(pad + 4) + header(), bytes(2) + header(), header()[:8] + bytes(CODE)):
        with pytest.raises(BootError, match="is neither a Linux bzImage nor a multiboot image"):
            boot_image(tmp_path, elf(Part(data=data)))


TOO_BIG = (1 << 32) - 4096


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x7fELF" + bytes(1000), "is neither a Linux bzImage nor a multiboot image"),
        (b"", "is empty"),
        (bytes(32) + struct.pack("<4I", multiboot.MAGIC2, 0, 16, 0), "is a multiboot 2 image: only multiboot 1"),
        (header(1 << 3) + CODE, "demands what multiboot does not define: flags 0x8"),
        (header() + CODE, "without addresses and is not an ELF file"),
        (elf(data_encoding=2), "is not an ELF file"),
        (elf(machine=40), "for another machine: e_machine is 40"),
        (b"\x7fELF\x01\x01" + bytes(6) + header(), "truncated: 24 bytes, which end in its ELF header"),
        (elf()[:-1], r"truncated: 4191 bytes of 4192"),
        (elf(Part(filesz=TOO_BIG - MIB)), "truncated: 4192 bytes of 4293914708 that its ELF header states"),
        (elf(Part(filesz=8192, memsz=4096)), "has 0x2000 bytes"),
        (elf(Part(paddr=TOO_BIG, memsz=8192)), "an ELF segment at 0xfffff000"),
        (elf(Part(paddr=2**63, memsz=8192), wide=True), "an ELF segment at 0x8000000000000000"),
        (elf(Part(paddr=3 * GIB), entry=3 * GIB), "64M of memory below 4G is too small .* 0xc0000000"),
        (elf(Part(memsz=64 * MIB)), "64M of memory below 4G is too small"),
        (elf(Part(paddr=0xA0000), entry=0xA0000), "wants to lie at 0xa0000 to .*: not all is RAM"),
        (elf(Part(paddr=0x9F000), entry=0x9F000), "not all is RAM"),
        (elf(Part(), Part(MIB + 4096 + 11)), r"its parts overlap at 0x10100b"),
        (elf(entry=MIB - 1), "its entry 0xfffff lies outside it"),
        (elf(entry=MIB + 12 + len(CODE)), "lies outside it"),
        (elf(Part(kind=2)), "states nothing to load"),
        (elf(Part(memsz=0, filesz=0)), "states nothing to load"),
        (elf()[:42] + b"\xff\xff\xff\xff" + elf()[46:], "program headers lie outside the file or are too small"),
        (elf()[:42] + b"\x01\x00\x01\x00" + elf()[46:], "program headers lie outside the file or are too small"),
        (header(multiboot.ADDRESS_FIELDS), "truncated: 12 bytes, which end in its multiboot header"),
        (kludge(load_end=MIB - 1), "broken multiboot header: header at 0x100000, load from 0x100000 to 0xfffff"),
        (kludge(skew=4), "broken multiboot header"),
        (kludge(load=MIB, skew=-4), "broken multiboot header: header at 0xffffc"),
        (kludge(load_end=2 * MIB), "truncated: 4128 bytes of 1048576 that its header states"),
        (kludge(load_end=MIB + 100, bss_end=MIB + 99), "its BSS ends at 0x100063, in its data"),
        (kludge(bss_end=0xFFFFFFFF), "too small for the kernel"),
        (kludge(entry=0), "its entry 0x0 lies outside it"),
        (elf(Part(paddr=0x1000, memsz=boot.EBDA - 0x1000), entry=0x1000), "leave no conventional memory"),
    ],
)
def test_broken_kernels(tmp_path: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(BootError, match=complaint) as caught:
        boot_image(tmp_path, content)
    assert str(tmp_path / "kernel") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modules_that_cannot_be_had(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(MIB))
    with pytest.raises(BootError, match=r"cannot read the module .*missing: No such file"):
        boot_image(tmp_path, elf(), f"{big} x,{tmp_path}/missing y")
    with pytest.raises(BootError, match="big has 1048576 bytes: there is room for 1040384 behind the kernel in 2M"):
        boot_image(tmp_path, elf(), str(big), memory=2 * MIB)
    for text_ in (",", " arguments", f"{big},", f"{big}, x"):
        with pytest.raises(BootError, match="a module has no file name"):
            boot_image(tmp_path, elf(), text_)


def test_a_command_line_beyond_conventional_memory(tmp_path: Path) -> None:
    boot_image(tmp_path, elf(), append="x" * 600_000)
    with pytest.raises(BootError, match="leave no conventional memory for the multiboot information"):
        boot_image(tmp_path, elf(), append="x" * 700_000)


def test_lists_of_modules() -> None:
    assert multiboot.parse_modules("") == []
    assert multiboot.parse_modules("a b  c,d,,e f") == [Module(Path("a"), "a b  c"), Module(Path("d,e"), "d,e f")]


@given(st.binary(max_size=120), st.integers(0, 200), st.booleans())
def test_hostile_images_are_refused_or_fit(junk: bytes, offset: int, wide: bool) -> None:
    data = bytearray(elf(Part(), Part(4 * MIB, b"data", memsz=8192), wide=wide))
    data[offset : offset + len(junk)] = junk
    try:
        kernel = multiboot.parse(memoryview(bytes(data)), Path("junk"))
    except BootError:
        return
    assert all(len(part.data) <= part.size and part.end <= 1 << 32 for part in kernel.parts)
    assert any(part.start <= kernel.entry < part.end for part in kernel.parts)


# Says where it starts, what it got and the first bytes of its module through isa-debug-exit.
PROGRAM = """
.intel_syntax noprefix
.code32
    .long 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000), 0x100000, 0x100000, 0, 0, 0x100020
    cmp eax, 0x2BADB002
    jne 1f
    mov esi, [ebx + 24]
    mov esi, [esi]
    mov eax, [esi]
    jmp 2f
1:  xor eax, eax
2:  out 0xf4, eax
    hlt
"""


@pytest.mark.parametrize("accel", list(Accel))
def test_a_kernel_runs(tmp_path: Path, accel: Accel) -> None:
    module = tmp_path / "module"
    module.write_bytes(b"\x78\x56\x34\x12")
    image = boot_image(tmp_path, tiny.assemble(PROGRAM, origin=MIB), str(module))
    with Machine(MachineSpec(memory=64 * MIB, accel=accel, debug_exit=True)) as machine:
        for _ in range(2):
            machine.load(image)
            end = machine.run(Limits(count=machine.count + 100))
            assert (end.kind, end.detail) == (ExitKind.DEBUG_EXIT, 0x12345678)
            machine.reset()


# Back to real mode: asks the BIOS for memory, equipment and an absent service, then waits for three ticks.
REAL_MODE = """
.intel_syntax noprefix
.code32
    .long 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000), 0x8000, 0x8000, 0, 0, 0x8020
    mov esp, 0x7000; xor ebx, ebx
    lgdt [gdt]
    ljmp 8, offset 1f
.code16
1:  mov eax, cr0; and al, 0xfe; mov cr0, eax
    ljmp 0, offset 2f
2:  xor ax, ax; mov ds, ax; mov ss, ax; mov es, ax
    int 0x12; cmp ax, 639; jne fail
    int 0x11; test ax, ax; jnz fail
    mov ax, 0xe820; clc; int 0x15; jnc fail; cmp ah, 0x86; jne fail
    mov word ptr [0x1c * 4], offset user; mov word ptr [0x1c * 4 + 2], 0
    sti
3:  hlt; cmp dword ptr [0x46c], 3; jb 3b
    cmp bx, 3; jne fail
    xor eax, eax; out 0xf4, eax
fail: mov eax, 1; out 0xf4, eax
user: inc bx; iret
gdt: .word 23; .long table
table: .quad 0, 0x00009b000000ffff, 0x000093000000ffff
"""


@pytest.mark.parametrize("accel", list(Accel))
def test_a_kernel_that_goes_back_to_real_mode_finds_a_bios(tmp_path: Path, accel: Accel) -> None:
    image = boot_image(tmp_path, tiny.assemble(REAL_MODE, origin=0x8000))
    with Machine(MachineSpec(memory=4 * MIB, accel=accel, debug_exit=True)) as machine:
        machine.load(image)
        end = machine.run(Limits(count=10_000))
        assert (end.kind, end.detail) == (ExitKind.DEBUG_EXIT, 0)
        assert 150e6 < end.time < 170e6, "three ticks of 55 ms"
