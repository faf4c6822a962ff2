"""What people are shown of a machine: registers and VM exits of a real one."""

from __future__ import annotations

import re

from tiny import ORIGIN, assemble, real_mode

from bringup.vmm.inspect import TOPICS
from bringup.vmm.inspect.exits import line
from bringup.vmm.machine import Limits, Machine
from bringup.vmm.spec import MachineSpec

PROGRAM = """
    .code16
    mov $0x1234, %ax
    stc
    cpuid
    cpuid
    out %al, $0x80
again: jmp again
"""


def test_registers_and_exits() -> None:
    with Machine(MachineSpec()) as machine:
        machine.write_ram(ORIGIN, assemble(PROGRAM))
        machine.set_registers(real_mode())
        machine.run(Limits(count=100))
        text = TOPICS["registers"](machine)
        assert "CPU#0, 100 instructions, 100 guest ns" in text
        assert re.search(r"^RIP=0000000000007c0a RFL=00000003 \[CF\] CPL=0$", text, re.MULTILINE)
        assert re.search(r"^CS =0000 0000000000000000 0000ffff 0009b$", text, re.MULTILINE)
        exits = TOPICS["exits"](machine).splitlines()
        assert exits == [line(one) for one in machine.last_exits()]
        assert [one for one in exits if "CPUID (10), qualification 0x0, RIP 0x7c04" in one]
        counts = dict(row.rsplit(" ", 1) for row in TOPICS["exit-counts"](machine).splitlines())
        assert counts["CPUID"] == "2"
        assert sum(map(int, counts.values())) == sum(machine.exits().values())
