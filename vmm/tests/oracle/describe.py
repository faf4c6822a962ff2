"""Cases, results and forms as text."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oracle.program import Failure

MODES = ("16-bit", "32-bit", "64-bit")
FIELDS = ("vector", "error", "cr2", "rip", "rflags", "gpr", "selector", "bases", "fx", "sse", "window", "strays")
GPR = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
ENDS = {0xFF: "done", 0xFE: "the host's process died", 0xFD: "left the run"}
EXCEPTIONS = {
    0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS",
    13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 19: "#XM",
}  # fmt: skip
PREFIXES = ("", "66", "F3", "F2")
MAPS = ("", "0F ", "0F 38 ", "0F 3A ", "VEX.0F ", "VEX.0F38 ", "VEX.0F3A ")


def disassemble(code: bytes, mode: int) -> str:
    """What binutils call it; the bytes alone when they are not there."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "code"
        path.write_bytes(code)
        machine = ("i8086", "i386", "x86-64")[mode]
        try:
            text = subprocess.run(
                ["objdump", "-D", "-b", "binary", "-m", "i386", "-M", f"intel,{machine}", str(path)],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            return "?"
    lines = [line.split("\t")[2] for line in text.splitlines() if line.count("\t") >= 2]
    return lines[0].strip() if lines else "?"


def end(result: Any) -> str:
    name = ENDS.get(result.vector) or EXCEPTIONS.get(result.vector, f"vector {result.vector}")
    if result.vector == 0xFE:
        name += f" (signal {result.error})"
    if result.vector in (8, 10, 11, 12, 13, 14, 17):
        name += f"({result.error:#x})"
    return name + (f" at {result.cr2:#x}" if result.vector == 14 else "")


def register(state: Any, name: str) -> int:
    value: int = getattr(state, name) if name in ("rip", "rflags") else state.gpr[GPR.index(name)]
    return value


def differences(failure: Failure) -> Iterator[str]:
    """The fields that differ, ours and the host's, with what they were before."""
    before, ours, host = failure.test.state, failure.ours.state, failure.host.state
    wide = failure.test.mode == 2
    mask = 2**64 - 1 if wide else 2**32 - 1
    if failure.fields == 1 << FIELDS.index("strays"):
        yield f"{failure.ours.strays} bytes differ beside the window"
    if failure.fields & 7:
        yield f"ends: {end(failure.ours)}, host {end(failure.host)}"
        if failure.fields & 1:
            return
    names = [*GPR[: 16 if wide else 8], "rip", "rflags"]
    for name in names:
        mine_, theirs_, was_ = (register(state, name) for state in (ours, host, before))
        shown = mask & ~0x10100 if name == "rflags" else mask
        if (mine_ ^ theirs_) & shown:
            yield f"{name}: {mine_ & shown:#x}, host {theirs_ & shown:#x} (was {was_:#x})"
    for index, name in enumerate(SEGMENTS):
        if ours.selector[index] != host.selector[index]:
            yield f"{name}: {ours.selector[index]:#x}, host {host.selector[index]:#x} (was {before.selector[index]:#x})"
    for name in ("fs_base", "gs_base"):
        if wide and getattr(ours, name) != getattr(host, name):
            yield f"{name}: {getattr(ours, name):#x}, host {getattr(host, name):#x} (was {getattr(before, name):#x})"
    pieces = [("fcw", 0, 2), ("fsw", 2, 2), ("ftw", 4, 1), ("mxcsr", 24, 4)]
    pieces += [(f"st{n}", 32 + 16 * n, 10) for n in range(8)] + [(f"xmm{n}", 160 + 16 * n, 16) for n in range(16)]
    for name, at, size in pieces:
        one, two, old = (bytes(s.fx)[at : at + size][::-1].hex() for s in (ours, host, before))
        if one != two:
            yield f"{name}: {one}, host {two} (was {old})"
    mine, theirs, was = (bytes(s.window) for s in (ours, host, before))
    if mine != theirs:
        differing = [n for n in range(len(mine)) if mine[n] != theirs[n]]
        first, end_ = differing[0], differing[-1] + 1
        cut = slice(first, min(end_, first + 64))
        yield f"memory +{first:#x}..+{end_:#x}: {mine[cut].hex()}, host {theirs[cut].hex()} (was {was[cut].hex()})"


def describe(failure: Failure) -> str:
    test, state = failure.test, failure.test.state
    lines = [
        f"{failure.code.hex(' ')}    {disassemble(failure.code, test.mode)}    [{MODES[test.mode]}, form {test.form},"
        f" terrain {test.terrain}]"
    ]
    lines += [f"    {line}" for line in differences(failure)]
    gpr = [f"{name}={state.gpr[n]:x}" for n, name in enumerate(GPR[: 16 if test.mode == 2 else 8])]
    lines.append(f"  with {' '.join(gpr)} rip={state.rip:x} rflags={state.rflags:x}")
    selectors = " ".join(f"{name}={state.selector[n]:x}" for n, name in enumerate(SEGMENTS))
    fcw, fsw, ftw = (int.from_bytes(bytes(state.fx)[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 5)))
    mxcsr = int.from_bytes(bytes(state.fx)[24:28], "little")
    lines.append(f"       {selectors} fcw={fcw:x} fsw={fsw:x} ftw={ftw:x} mxcsr={mxcsr:x}")
    return "\n".join(lines)


def name_of(form: Any) -> str:
    parts = [MODES[form.mode], PREFIXES[form.prefix], ("", "W")[form.w], f"{MAPS[form.map]}{form.opcode:02X}"]
    if form.reg != 0xFF:
        parts.append(f"/{form.reg}")
    if form.rm != 0xFF:
        parts.append(f"rm{form.rm}")
    parts.append(("", "reg", "mem")[form.operand])
    return " ".join(part for part in parts if part)
