"""One instruction in a state of the test's making: what it raised, or what it left.

Every exception is a VM exit, so that nothing of the guest's tables takes part in looking at it; an instruction that
raises none ends with the preemption timer.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rootmode import CODE, GPR, Root, lib

EXCEPTION, TRIPLE_FAULT, TASK_SWITCH, TIMER = 0, 2, 9, 52
DE, DB, BP, OF, UD, NM, DF, TS, NP, SS, GP, PF, AC = 0, 1, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14, 17
NO_ERROR = -1
PREEMPTION_TIMER = 1 << 6
ENABLE_RDTSCP, ENABLE_INVPCID = 1 << 3, 1 << 12


class Outcome(NamedTuple):
    """`vector` is None when the instruction retired; `address` is that of a page fault."""

    vector: int | None
    error: int = NO_ERROR
    address: int = 0


DONE = Outcome(None)


def fault(vector: int, error: int = NO_ERROR, address: int = 0) -> Outcome:
    return Outcome(vector, error, address)


class Probe(Root):
    """A processor whose guest runs one instruction at a time."""

    def __init__(self, model: str = "max", mode: str = "long") -> None:
        super().__init__(model)
        self.start("nop", mode)
        self.mode = mode
        self["pin_based_controls"] = self.controls(0x48D, 1 | PREEMPTION_TIMER)
        self.set(exception_bitmap=0xFFFFFFFF, page_fault_error_mask=0, page_fault_error_match=0)
        self["cr4_guest_host_mask"] = self["cr4_read_shadow"] = 0
        self["cr0_guest_host_mask"] = 0
        self["secondary_controls"] = self["secondary_controls"] | ENABLE_RDTSCP | ENABLE_INVPCID

    def put(self, name: str, value: int) -> None:
        """A general register other than RSP."""
        self.registers.gpr[GPR.index(name)] = value

    def flush(self) -> None:
        """Forgets all translations, as the test changes tables behind the guest's back."""
        lib.vmx_invept(self.cpu, 2, 0)

    def code(self, data: bytes, at: int = CODE) -> None:
        self.write(at, data)

    def step(self, instructions: int = 1) -> Outcome:
        """Runs at the guest's RIP."""
        self["preemption_timer_value"] = instructions
        reason = self.enter() & 0xFFFF
        if reason == TIMER:
            return DONE
        assert reason == EXCEPTION, reason
        information = self["exit_interruption_information"]
        vector = information & 0xFF
        error = self["exit_interruption_error_code"] if information >> 11 & 1 else NO_ERROR
        return Outcome(vector, error, self["exit_qualification"] if vector == PF else 0)

    def run(self, data: bytes, **changes: int) -> Outcome:
        """One instruction, at CODE unless `guest_rip` is given, after changes of the VMCS."""
        self.set(guest_rip=changes.pop("guest_rip", CODE), **changes)
        self.write(CODE, data)
        return self.step()

    def quad(self, address: int, *values: int) -> None:
        self.write(address, struct.pack(f"<{len(values)}Q", *(value & 2**64 - 1 for value in values)))

    def long(self, address: int, *values: int) -> None:
        self.write(address, struct.pack(f"<{len(values)}I", *(value & 2**32 - 1 for value in values)))
