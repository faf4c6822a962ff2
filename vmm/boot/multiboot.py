"""Multiboot 0.6.96 ("multiboot 1"): the kernel's header in its first 8 KiB, ELF or address fields, and modules.

The kernel lies where it wants to, modules follow it page by page, and the information that EBX points to is in
conventional memory. A kernel that goes back to real mode finds a BIOS's vectors there (bios.py). As with QEMU, the
command line begins with the kernel's file name and a module's text with its own.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..machine import RBX
from ..spec import KIB, MIB
from . import EBDA, HIGH, BootError, BrokenError, Image, bios, e820, firmware, flat, low_ram, map_file

# The header (3.1.1).
MAGIC = 0x1BADB002
SEARCH = 8192
HEADER_SIZE, ADDRESS_FIELDS_SIZE = 12, 20
# Its flags. What modules are aligned to and what is told of memory is the same for all kernels; no video mode is set.
PAGE_ALIGN, MEMORY_INFO, VIDEO_MODE = 1 << 0, 1 << 1, 1 << 2
MANDATORY = 0xFFFF
ADDRESS_FIELDS = 1 << 16

MAGIC2, SEARCH2 = 0xE85250D6, 32768

# The state at entry (3.2) and the information (3.3).
LOADER_MAGIC = 0x2BADB002
INFORMATION = 0x9000  # at the earliest; GDT first
INFO_MEMORY, INFO_CMDLINE, INFO_MODS, INFO_MMAP, INFO_LOADER_NAME = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 9
INFORMATION_SIZE = 120
LOADER_NAME = b"bringup\0"

# ELF: System V ABI, "Object Files".
ELF_MAGIC = b"\x7fELF"
ELFCLASS32, ELFCLASS64, ELFDATA2LSB = 1, 2, 1
EM_386, EM_X86_64 = 3, 62
PT_LOAD = 1

PAGE = 4096


class Loaded(NamedTuple):
    """A part of the kernel: its bytes and, to `size`, zeros behind them."""

    start: int
    size: int
    data: memoryview

    @property
    def end(self) -> int:
        return self.start + self.size


class Kernel(NamedTuple):
    """Where a kernel lies and starts; `parts` by rising address."""

    parts: list[Loaded]
    entry: int


class Module(NamedTuple):
    """A boot module: its file, and the text that the kernel gets with it (which begins with the file's name)."""

    path: Path
    text: str


def parse_modules(text: str) -> list[Module]:
    """`FILE ARGUMENTS,FILE2,...`, a doubled comma standing for one, as QEMU's -initrd has it."""
    parts = text.replace(",,", "\0").split(",") if text else []
    texts = [part.replace("\0", ",") for part in parts]
    if any(not text.split(" ")[0] for text in texts):
        raise BootError(f"--initrd '{text}': a module has no file name")
    return [Module(Path(text.split(" ")[0]), text) for text in texts]


def find_header(data: memoryview) -> int | None:
    """The offset of the multiboot header: 4-byte aligned, magic and checksum right, within the first 8 KiB."""
    for offset in range(0, min(len(data), SEARCH) - HEADER_SIZE + 1, 4):
        if data[offset] == MAGIC & 0xFF:
            magic, flags, checksum = struct.unpack_from("<3I", data, offset)
            if magic == MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
                return offset
    return None


def is_multiboot2(data: memoryview) -> bool:
    """Has the file a multiboot 2 header?"""
    magic = struct.pack("<I", MAGIC2)
    return any(bytes(data[offset : offset + 4]) == magic for offset in range(0, min(len(data), SEARCH2), 8))


@dataclass(frozen=True)
class MultibootBoot:
    """A kernel, its modules and its command line, ready to be put into a machine any number of times."""

    kernel: Path
    modules: Iterable[Module] = ()
    append: str = ""

    def image(self, memory: int, cpus: int = 1) -> Image:
        """What to load into a machine of `memory` bytes and `cpus` vCPUs; BootError when it cannot be booted there."""
        kernel = parse(map_file(self.kernel, "kernel"), self.kernel)
        ram = low_ram(memory)
        self._check_memory(kernel, ram)
        modules = list(self._place_modules(kernel, ram))
        low = _Information(kernel)
        command_line = f"{self.kernel} {self.append}" if self.append else str(self.kernel)
        image = Image(flat.protected_mode(0, low.put(flat.descriptor_table(flat.CODE_32))))
        image.registers.gpr[RBX] = low.information(command_line, modules, memory)
        firmware.install(image, memory, cpus)
        bios.install(image, kernel.entry, eax=LOADER_MAGIC)
        for part in kernel.parts:
            end = image.put(part.start, part.data)
            if end < part.end:
                image.put(end, _zeros(part.end - end))
        for start, data, _ in modules:
            image.put(start, data)
        if low.end > low.ceiling:
            raise BootError(
                f"the kernel {self.kernel} and its command lines leave no conventional memory for the multiboot "
                f"information: {low.end - low.base} bytes at {low.base:#x}"
            )
        image.put(low.base, bytes(low.data))
        return image

    def _check_memory(self, kernel: Kernel, ram: int) -> None:
        previous = 0
        for part in kernel.parts:
            if part.start < previous:
                raise BrokenError(f"the kernel {self.kernel} is broken: its parts overlap at {part.start:#x}")
            if not (part.end <= EBDA or part.start >= HIGH):
                raise BootError(
                    f"the kernel {self.kernel} wants to lie at {part.start:#x} to {part.end - 1:#x}: not all is RAM"
                )
            if part.end > ram and part.start >= HIGH:
                raise BootError(
                    f"{ram // MIB}M of memory below 4G is too small for the kernel {self.kernel}: "
                    f"it lies at {part.start:#x} to {part.end - 1:#x}"
                )
            previous = part.end

    def _place_modules(self, kernel: Kernel, ram: int) -> Iterator[tuple[int, memoryview, str]]:
        at = max(HIGH, kernel.parts[-1].end)
        for module in self.modules:
            data = map_file(module.path, "module")
            at = -(-at // PAGE) * PAGE
            if at + len(data) > ram:
                raise BootError(
                    f"the module {module.path} has {len(data)} bytes: "
                    f"there is room for {max(ram - at, 0)} behind the kernel in {ram // MIB}M of memory"
                )
            yield at, data, module.text
            at += len(data)


class _Information:
    """The bytes in conventional memory, where the kernel leaves room for them."""

    def __init__(self, kernel: Kernel) -> None:
        below = [part.end for part in kernel.parts if part.end > INFORMATION and part.start < EBDA]
        self.base = -(-max(below, default=INFORMATION) // 16) * 16
        self.ceiling = EBDA
        self.data = bytearray()

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def put(self, data: bytes) -> int:
        """Adds bytes, 8-byte aligned; their address."""
        self.data += bytes(-len(self.data) % 8)
        address = self.end
        self.data += data
        return address

    def information(self, command_line: str, modules: list[tuple[int, memoryview, str]], memory: int) -> int:
        """Adds the multiboot information structure and all that it points to; its address."""
        line = self.put(_text(command_line))
        entries = [
            struct.pack("<4I", start, start + len(data), self.put(_text(text)), 0) for start, data, text in modules
        ]
        mods = self.put(b"".join(entries))
        memory_map = b"".join(struct.pack("<IQQI", 20, *entry) for entry in e820(memory))
        mmap_address = self.put(memory_map + bytes(4))  # Plan 9 reads on to an entry without size
        name = self.put(LOADER_NAME)
        flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER_NAME
        if modules:  # Plan 9 looks at the first one without asking how many there are
            flags |= INFO_MODS
        lower, upper = EBDA // KIB, max(low_ram(memory) - HIGH, 0) // KIB
        return self.put(
            struct.pack(
                "<7I 16x 2I 12x I",
                flags, lower, upper, 0, line, len(modules), mods, len(memory_map), mmap_address, name,
            ).ljust(INFORMATION_SIZE, b"\0")
        )  # fmt: skip


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"


def _zeros(size: int) -> memoryview:
    """Pages that cost nothing: a kernel may ask for gigabytes of them."""
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))


def parse(data: memoryview, path: Path) -> Kernel:
    """Where the kernel's parts lie; BootError says what is wrong with it."""
    header = find_header(data)
    if header is None:
        raise BootError(f"the kernel {path} is not a multiboot image")
    (flags,) = struct.unpack_from("<I", data, header + 4)
    unknown = flags & MANDATORY & ~(PAGE_ALIGN | MEMORY_INFO | VIDEO_MODE)
    if unknown:
        raise BootError(f"the kernel {path} demands what multiboot does not define: flags {unknown:#x}")
    kernel = _address_fields(data, header, path) if flags & ADDRESS_FIELDS else _elf(data, path)
    if not any(part.start <= kernel.entry < part.end for part in kernel.parts):
        raise BrokenError(f"the kernel {path} is broken: its entry {kernel.entry:#x} lies outside it")
    return kernel


def _address_fields(data: memoryview, header: int, path: Path) -> Kernel:
    """The "a.out kludge": the header says what to load from the file and where to (3.1.3)."""
    if header + HEADER_SIZE + ADDRESS_FIELDS_SIZE > len(data):
        raise BrokenError(f"the kernel {path} is truncated: {len(data)} bytes, which end in its multiboot header")
    header_addr, load, load_end, bss_end, entry = struct.unpack_from("<5I", data, header + HEADER_SIZE)
    offset = header - (header_addr - load)
    if header_addr < load or offset < 0 or (load_end and load_end < load):
        raise BrokenError(
            f"the kernel {path} has a broken multiboot header: "
            f"header at {header_addr:#x}, load from {load:#x} to {load_end:#x}"
        )
    size = load_end - load if load_end else len(data) - offset
    if offset + size > len(data):
        raise BrokenError(
            f"the kernel {path} is truncated: {len(data)} bytes of {offset + size} that its header states"
        )
    if bss_end and bss_end < load + size:
        raise BrokenError(f"the kernel {path} has a broken multiboot header: its BSS ends at {bss_end:#x}, in its data")
    return Kernel([Loaded(load, max(bss_end, load + size) - load, data[offset : offset + size])], entry)


class _Segment(NamedTuple):
    """A program header."""

    kind: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


def _elf(data: memoryview, path: Path) -> Kernel:
    ident = bytes(data[:6])
    if ident[:4] != ELF_MAGIC or ident[5:] != bytes([ELFDATA2LSB]) or ident[4] not in (ELFCLASS32, ELFCLASS64):
        raise BootError(f"the kernel {path} has a multiboot header without addresses and is not an ELF file")
    wide = ident[4] == ELFCLASS64
    layout = "<HHIQQQIHHH" if wide else "<HHIIIIIHHH"
    if len(data) < 16 + struct.calcsize(layout):
        raise BrokenError(f"the kernel {path} is truncated: {len(data)} bytes, which end in its ELF header")
    _, machine, _, entry, table, _, _, _, entry_size, count = struct.unpack_from(layout, data, 16)
    if machine not in (EM_386, EM_X86_64):
        raise BootError(f"the kernel {path} is an ELF file for another machine: e_machine is {machine}")
    if table + entry_size * count > len(data) or entry_size < (56 if wide else 32):
        raise BrokenError(f"the kernel {path} is broken: its ELF program headers lie outside the file or are too small")
    segments = [
        segment
        for index in range(count)
        if (segment := _program_header(data, table + entry_size * index, wide)).kind == PT_LOAD and segment.memsz
    ]
    parts: list[Loaded] = []
    for segment in segments:
        if segment.filesz > segment.memsz or segment.paddr + segment.memsz > 1 << 32:
            raise BrokenError(
                f"the kernel {path} is broken: an ELF segment at {segment.paddr:#x} has {segment.filesz:#x} bytes "
                f"in the file and {segment.memsz:#x} in memory"
            )
        if segment.offset + segment.filesz > len(data):
            raise BrokenError(
                f"the kernel {path} is truncated: {len(data)} bytes of {segment.offset + segment.filesz} "
                "that its ELF header states"
            )
        content = data[segment.offset : segment.offset + segment.filesz]
        parts.append(Loaded(segment.paddr, segment.memsz, content))
    if not parts:
        raise BrokenError(f"the kernel {path} is broken: its ELF header states nothing to load")
    # The entry may be a virtual address; it is started without paging.
    for segment in segments:
        if 0 <= entry - segment.vaddr < segment.memsz:
            entry += segment.paddr - segment.vaddr
            break
    return Kernel(sorted(parts, key=lambda part: part.start), entry)


def _program_header(data: memoryview, offset: int, wide: bool) -> _Segment:
    if wide:
        kind, _, file_offset, vaddr, paddr, filesz, memsz = struct.unpack_from("<IIQQQQQ", data, offset)
    else:
        kind, file_offset, vaddr, paddr, filesz, memsz = struct.unpack_from("<6I", data, offset)
    return _Segment(kind, file_offset, vaddr, paddr, filesz, memsz)
