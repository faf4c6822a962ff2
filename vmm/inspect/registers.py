"""Registers, in the layout that people know from QEMU's `info registers`."""

from __future__ import annotations

from ..machine import CS, DS, ES, FS, GS, LDTR, SS, TR, Machine, Registers, Segment

_GPR = ("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", *(f"R{n:<2}" for n in range(8, 16)))
_SEGMENTS = {"ES": ES, "CS": CS, "SS": SS, "DS": DS, "FS": FS, "GS": GS, "LDT": LDTR, "TR": TR}
_FLAGS = {"CF": 0, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11, "NT": 14, "RF": 16}
_FLAGS |= {"VM": 17, "AC": 18}  # SDM volume 1, 3.4.3


def registers(machine: Machine) -> str:
    """All vCPUs' registers."""

    def one(vcpu: int) -> str:
        head = f"CPU#{vcpu}, {machine.vcpu_count(vcpu)} instructions, {machine.time} guest ns"
        return f"{head}\n{_text(machine.registers(vcpu))}"

    return "\n\n".join(map(one, range(machine.spec.cpus)))


def _text(regs: Registers) -> str:
    named = [f"{name}={value:016x}" for name, value in zip(_GPR, regs.gpr, strict=True)]
    lines = [" ".join(named[row : row + 4]) for row in range(0, 16, 4)]
    set_flags = " ".join(name for name, bit in _FLAGS.items() if regs.rflags >> bit & 1)
    lines.append(f"RIP={regs.rip:016x} RFL={regs.rflags:08x} [{set_flags}] CPL={_cpl(regs)}")
    lines += [f"{name:<3}={_segment(regs.segments[index])}" for name, index in _SEGMENTS.items()]
    lines.append(f"GDT={regs.gdt_base:016x} {regs.gdt_limit:04x}  IDT={regs.idt_base:016x} {regs.idt_limit:04x}")
    lines.append(f"CR0={regs.cr0:08x} CR2={regs.cr2:016x} CR3={regs.cr3:016x} CR4={regs.cr4:08x} CR8={regs.cr8:x}")
    lines.append(" ".join(f"DR{n}={regs.dr[n]:016x}" for n in (0, 1, 2, 3)))
    lines.append(f"DR6={regs.dr[6]:016x} DR7={regs.dr[7]:016x} EFER={regs.efer:016x}")
    return "\n".join(lines)


def _segment(segment: Segment) -> str:
    return f"{segment.selector:04x} {segment.base:016x} {segment.limit:08x} {segment.access:05x}"


def _cpl(regs: Registers) -> int:
    return regs.segments[SS].access >> 5 & 3  # SDM volume 3, 25.4.1: SS.DPL holds it
