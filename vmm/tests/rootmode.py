"""Root-mode code in Python: a test is a small hypervisor on vmx.h, its guests are a few lines of assembly.

Guest-physical memory is the first 2 MiB of the arena, mapped to itself by 4-KiB EPT entries; what root-mode code needs
lies behind it. A guest starts at `CODE` with its stack below `STACK`. Vector n, through IVT or IDT, comes to the HLT at
`handler(n)`.
"""

from __future__ import annotations

import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bringup.vmm import cpumodel
from bringup.vmm.core import _core

ffi, lib = _core.ffi, _core.lib

MIB = 1 << 20
PAGE = 4096

# guest-physical
GDT, IDT, TSS, HANDLERS, CODE, STACK, DATA = 0x1000, 0x2000, 0x3000, 0x6000, 0x8000, 0xB000, 0xC000
PAGE_TABLES = 0x10000  # three pages: the first GiB, mapped to itself
GUEST_SIZE = 2 * MIB
CODE32, DATA32, CODE64, TASK, USER_DATA, USER_CODE64 = 0x08, 0x10, 0x18, 0x20, 0x33, 0x3B

# host-physical, beyond the guest's
EPT, VMXON, VMCS, OTHER_VMCS = 0x400000, 0x410000, 0x411000, 0x412000
IO_BITMAP_A, IO_BITMAP_B, MSR_BITMAP = 0x413000, 0x414000, 0x415000
MSR_STORE, MSR_EXIT_LOAD, MSR_ENTRY_LOAD = 0x416000, 0x417000, 0x418000

SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
GPR = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
SUCCEED, FAIL_INVALID, FAIL_VALID = range(3)

VALID = 1 << 31
HAS_ERROR = 1 << 11


def handler(vector: int) -> int:
    return HANDLERS + vector * 16


@cache
def assemble(source: str, bits: int, origin: int = CODE) -> bytes:
    """GNU assembler source, Intel syntax, as it lies at `origin`."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "guest.s").write_text(f".intel_syntax noprefix\n.code{bits}\n{source}\n")
        subprocess.run(["as", "--64", "-o", "guest.o", "guest.s"], cwd=folder, check=True)
        link = ["ld", "--oformat", "binary", "-Ttext", hex(origin), "-e", "0", "-o", "guest.bin", "guest.o"]
        subprocess.run(link, cwd=folder, check=True)
        return (folder / "guest.bin").read_bytes()


def fields() -> dict[str, int]:
    """The encodings of all VMCS components, by name."""
    found: dict[str, int] = {}
    number = 0
    while (encoding := lib.vmcs_field_encoding(number)) != 0xFFFFFFFF:
        found[ffi.string(lib.vmcs_field_name(encoding)).decode()] = encoding
        number += 1
    return found


FIELDS = fields()


def configuration(model: str, **settings: Any) -> Any:
    """A machine_config with the CPUID rows of a model."""
    chosen = cpumodel.load(model)
    rows = chosen.cpuid()
    config = ffi.new("struct machine_config *", {"memory_bytes": GUEST_SIZE, "cpus": 1, "seed": 1} | settings)
    config.generation = chosen.generation
    config.arch_capabilities = chosen.arch_capabilities_value()
    config.cpuid_count = len(rows)
    for index, row in enumerate(rows):
        config.cpuid[index] = row
    return config


class Root:
    """A processor, its memory and, after `start`, VMX operation with a VMCS that enters a guest."""

    def __init__(self, model: str = "max") -> None:
        self.config = configuration(model)
        self.arena = lib.arena_create(8 * MIB)
        self.cpu = lib.processor_create(self.arena, self.config, 0)
        assert self.cpu != ffi.NULL
        self.registers = lib.processor_registers(self.cpu)
        self.launched = False
        self.revision = self.rdmsr(0x480) & 0x7FFFFFFF
        for region in (VMXON, VMCS, OTHER_VMCS):
            self.write(region, struct.pack("<I", self.revision))

    def close(self) -> None:
        lib.processor_destroy(self.cpu)
        lib.arena_destroy(self.arena)

    # ---- memory ----

    def write(self, address: int, data: bytes) -> None:
        at = lib.arena_at(self.arena, address, len(data))
        assert at != ffi.NULL
        ffi.memmove(at, data, len(data))
        lib.arena_written(self.arena, address, len(data))

    def read(self, address: int, size: int) -> bytes:
        return bytes(ffi.buffer(lib.arena_at(self.arena, address, size), size))

    def word(self, address: int, size: int = 8) -> int:
        return int.from_bytes(self.read(address, size), "little")

    # ---- MSRs ----

    def rdmsr(self, index: int) -> int:
        value = ffi.new("uint64_t *")
        assert lib.msr_read(self.cpu, index, value), hex(index)
        return int(value[0])

    def wrmsr(self, index: int, value: int) -> bool:
        return bool(lib.msr_write(self.cpu, index, value))

    @property
    def count(self) -> int:
        return self.rdmsr(0x309)

    # ---- VMCS components by name ----

    def __getitem__(self, name: str) -> int:
        value = ffi.new("uint64_t *")
        assert lib.vmx_read(self.cpu, FIELDS[name], value) == SUCCEED, name
        return int(value[0])

    def __setitem__(self, name: str, value: int) -> None:
        assert lib.vmx_write(self.cpu, FIELDS[name], value) == SUCCEED, name

    def set(self, **values: int) -> None:
        for name, value in values.items():
            self[name] = value

    def error(self) -> int:
        return self["vm_instruction_error"]

    def gpr(self, name: str) -> int:
        return int(self.registers.gpr[GPR.index(name)])

    # ---- set-up ----

    def controls(self, msr: int, wanted: int) -> int:
        capability = self.rdmsr(msr)
        assert not wanted & ~(capability >> 32), (hex(msr), hex(wanted))
        return wanted | (capability & 0xFFFFFFFF)

    def vmxon(self) -> None:
        assert lib.vmx_on(self.cpu, VMXON) == SUCCEED
        assert lib.vmx_clear(self.cpu, VMCS) == SUCCEED
        assert lib.vmx_ptrld(self.cpu, VMCS) == SUCCEED

    def start(self, source: str = "hlt", mode: str = "long", **changes: int) -> Root:
        """VMX operation, and a VMCS for a guest in `real`, `protected` or `long` mode. `changes` are components."""
        self.vmxon()
        self.map()
        self.write_controls()
        self.write_host()
        self.program(source, mode)
        self.set(**changes)
        return self

    def map(self) -> None:
        write_back = 6 << 3
        for level in range(3):
            self.write(EPT + level * PAGE, struct.pack("<Q", EPT + (level + 1) * PAGE | 7))
        for page in range(GUEST_SIZE // PAGE):
            self.permit(page * PAGE, 7, write_back)

    def permit(self, gpa: int, rights: int, memory_type: int = 6 << 3) -> None:
        """What EPT allows of a page: 1 read, 2 write, 4 fetch."""
        self.write(EPT + 3 * PAGE + gpa // PAGE * 8, struct.pack("<Q", gpa | rights | memory_type))

    def write_controls(self) -> None:
        self["pin_based_controls"] = self.controls(0x48D, 1)
        self["primary_controls"] = self.controls(0x48E, 1 << 7 | 1 << 31) & ~(3 << 15)  # HLT, secondary
        self["secondary_controls"] = self.controls(0x48B, 1 << 1 | 1 << 5 | 1 << 7)  # EPT, VPID, unrestricted guest
        self["exit_controls"] = self.controls(0x48F, 1 << 2 | 1 << 9 | 1 << 20)
        self["entry_controls"] = self.controls(0x490, 1 << 2 | 1 << 15)
        self["ept_pointer"] = EPT | 3 << 3 | 6
        self["virtual_processor_id"] = 1
        self["vmcs_link_pointer"] = 2**64 - 1
        self.set(io_bitmap_a_address=IO_BITMAP_A, io_bitmap_b_address=IO_BITMAP_B, msr_bitmap_address=MSR_BITMAP)
        self["cr0_guest_host_mask"] = 1 << 5
        self["cr0_read_shadow"] = 0
        self["cr4_guest_host_mask"] = 1 << 13
        self["cr4_read_shadow"] = 0

    def write_host(self) -> None:
        self["host_cr0"] = self.rdmsr(0x486)
        self["host_cr4"] = self.rdmsr(0x488) | 1 << 5
        self.set(host_cs_selector=8, host_tr_selector=16)

    def segment(self, name: str, selector: int, base: int, limit: int, access: int) -> None:
        self[f"guest_{name}_selector"] = selector
        self[f"guest_{name}_base"] = base
        self[f"guest_{name}_limit"] = limit
        self[f"guest_{name}_access_rights"] = access

    def program(self, source: str, mode: str = "long") -> None:
        """Puts a program at CODE and the guest's state in `mode` before it."""
        self.write(CODE, assemble(source, {"real": 16, "protected": 32, "long": 64}[mode]))
        for vector in range(256):
            self.write(handler(vector), b"\xf4")
        self.write(GDT, gdt())
        self.set(guest_gdtr_base=GDT, guest_gdtr_limit=len(gdt()) - 1, guest_dr7=0x400, guest_debugctl=0)
        self.set(guest_sysenter_cs=0, guest_sysenter_esp=0, guest_sysenter_eip=0)
        self.set(guest_rip=CODE, guest_rsp=STACK, guest_rflags=2, guest_cr3=0, guest_cr4=1 << 13)
        self.set(guest_interruptibility_state=0, guest_activity_state=0, guest_pending_debug_exceptions=0)
        self.segment("ldtr", 0, 0, 0xFFFF, 0x82)
        self.segment("tr", TASK, TSS, 0x67, 0x8B)
        self["entry_controls"] = self["entry_controls"] & ~(1 << 9)
        if mode == "real":
            for name in SEGMENTS[:6]:
                self.segment(name, 0, 0, 0xFFFF, 0x93)
            self.write(0, b"".join(struct.pack("<HH", handler(vector), 0) for vector in range(256)))
            self.set(guest_cr0=0x30, guest_efer=0, guest_idtr_base=0, guest_idtr_limit=0x3FF)
            return
        code, gates = (CODE32, 8) if mode == "protected" else (CODE64, 16)
        for name in SEGMENTS[:6]:
            self.segment(name, DATA32, 0, 0xFFFFFFFF, 0xC093)
        self.segment("cs", code, 0, 0xFFFFFFFF, 0xC09B if mode == "protected" else 0xA09B)
        for vector in range(256):
            self.write(IDT + vector * gates, gate(code, handler(vector))[:gates])
        self.set(guest_idtr_base=IDT, guest_idtr_limit=256 * gates - 1, guest_cr0=0x31, guest_efer=0)
        if mode == "long":
            self.write(PAGE_TABLES, page_tables())
            self.set(guest_cr0=0x80000031, guest_cr3=PAGE_TABLES, guest_cr4=1 << 13 | 0x620, guest_efer=0xD00)
            self["entry_controls"] = self["entry_controls"] | 1 << 9

    # ---- running ----

    def enter(self) -> int:
        """VMLAUNCH or VMRESUME; the exit reason."""
        assert (lib.vmx_resume if self.launched else lib.vmx_launch)(self.cpu) == SUCCEED, self.error()
        reason = self["exit_reason"]
        self.launched = self.launched or not reason >> 31
        return reason

    def skip(self) -> None:
        """Past the instruction that exited."""
        self["guest_rip"] = self["guest_rip"] + self["exit_instruction_length"]

    def inject(self, vector: int, kind: int, error: int | None = None, length: int = 0) -> None:
        """Event injection by the next entry; `kind` is an interruption type."""
        information = vector | kind << 8 | VALID
        if error is not None:
            information |= HAS_ERROR
            self["entry_exception_error_code"] = error
        self.set(entry_interruption_information=information, entry_instruction_length=length)


def gate(selector: int, offset: int) -> bytes:
    """An interrupt gate, DPL 3."""
    return struct.pack("<HHHHIi", offset & 0xFFFF, selector, 0xEE00, offset >> 16 & 0xFFFF, offset >> 32, 0)


def gdt() -> bytes:
    descriptors = [
        0,
        0x00CF9B000000FFFF,  # 32-bit code
        0x00CF93000000FFFF,  # data
        0x00AF9B000000FFFF,  # 64-bit code
        0x00008B0000000067 | TSS << 16,  # TSS, 16 bytes
        0,
        0x00CFF3000000FFFF,  # user data
        0x00AFFB000000FFFF,  # user 64-bit code
    ]
    return struct.pack("<8Q", *descriptors)


def page_tables() -> bytes:
    """PML4, PDPT and page directory: supervisor and user, writable, 2-MiB pages."""
    tables = struct.pack("<Q4088x", PAGE_TABLES + PAGE | 7) + struct.pack("<Q4088x", PAGE_TABLES + 2 * PAGE | 7)
    return tables + struct.pack("<512Q", *(number << 21 | 0x87 for number in range(512)))
