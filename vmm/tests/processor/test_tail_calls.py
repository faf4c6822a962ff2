"""Handlers end in a jump: one that calls its successor would let a guest's loop eat the host's stack."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from bringup.vmm.core import _core

# Functions that may call through a pointer and then return.
CALLERS = re.compile(
    r"_cffi_|machine_|takes_|deliver|board_|_init$|physical_(read|write)|run_(until|iterations|slice|alone)|protect|repeat|fpu_run_alone"
    r"|port_(in|out)|string_io|store_through|input|output|each_power_on_msr|checked_memory|emulate|hash_|execute|fetch|compute|judge|attempt_it|on_fpe"
    r"|advance_|_service|ide_|fdc_|memory_window|arena_|(read|write)_vga|vga_|^serve|^move|^memory|^transfer|^rearm|_snapshot|all_of"
    r"|guest_exit|schedule|create_vcpu|can_run|wakes|take_init|take_startup|begin_turn"
)


def functions() -> dict[str, list[str]]:
    """The instructions of every function of the core."""
    text = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", _core.__file__], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        head, _, body = block.partition("\n")
        if name := re.match(r"[0-9a-f]+ <(.*)>:$", head):
            found.setdefault(name[1].partition(".")[0], []).extend(
                line.partition("\t")[2] for line in body.splitlines()
            )
    return found


@pytest.mark.skipif(
    os.environ.get("BRINGUP_SANITIZE", "0") != "0", reason="the sanitized core returns to a loop instead"
)
def test_no_handler_calls_the_next() -> None:
    code = functions()
    assert "op_trace_end" in code
    ends = [name for name, lines in code.items() if any(re.match(r"jmp +\*", line) for line in lines)]
    assert len(ends) > 1000, "handlers"
    calls = [
        name
        for name, lines in code.items()
        if any(re.match(r"call +(\*|[0-9a-f]+ <trace_jump_slow)", line) for line in lines) and name not in ends
    ]
    assert [name for name in calls if not CALLERS.match(name)] == []
