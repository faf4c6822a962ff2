"""`dialogue`: a multiboot kernel of a few hundred bytes that says what a script has it say, on COM1, and takes answers.

Inputs: none. Parameters: `script`, whose lines begin with

    | TEXT      says this line
    ? PROMPT    says this without a line end, and reads a line, which is echoed; Ctrl-U forgets what came of it. What
                follows, up to the next `?`, is about the answers
    > ANSWER    what follows is done when this line is read; `> *`, the last one, is for all others
    ! next      goes on after the prompt's answers; without it the prompt comes again
    ! halt, ! reset, ! power-off
                ends the machine so
    #           is not read, and neither is an empty line
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.recipes import RecipeError, known, needed

VERSION = 1
BASE = 0x100000
HEADER_SIZE = 32
LINE = 0x120000
"""Where the program keeps the line that it reads; the script ends before."""
_MAGIC, _ADDRESS_FIELDS = 0x1BADB002, 1 << 16  # Multiboot 0.6.96, 3.1.1
# What the program finds in its script beside text: a prompt's answers follow, go to an address, the ends, any answer.
ASK, GO, HALT, RESET, POWER_OFF, ANY = range(1, 7)
ACTIONS = {"halt": HALT, "reset": RESET, "power-off": POWER_OFF}

CODE = """
                        start:
    bc 00 00 13 00      mov esp, 0x130000
    8d 35 e1 00 10 00   lea esi, [script]
                        next:
    ac                  lodsb
    3c 01               cmp al, 1
    74 17               je ask
    3c 02               cmp al, 2
    74 71               je matched
    3c 03               cmp al, 3
    74 7a               je halt
    3c 04               cmp al, 4
    74 7a               je reset
    3c 05               cmp al, 5
    74 7c               je off
    e8 89 00 00 00      call say
    eb e4               jmp next
                        ask:
    bf 00 00 12 00      mov edi, 0x120000
                        hear:
    b9 d0 07 00 00      mov ecx, 2000
    e2 fe               loop .
    66 ba fd 03         mov dx, 0x3fd
    ec                  in al, dx
    a8 01               test al, 1
    74 f0               jz hear
    66 ba f8 03         mov dx, 0x3f8
    ec                  in al, dx
    3c 0d               cmp al, 13
    74 1c               je heard
    3c 0a               cmp al, 10
    74 18               je heard
    3c 15               cmp al, 21
    74 da               je ask
    3c 20               cmp al, 32
    72 db               jb hear
    81 ff ff 00 12 00   cmp edi, 0x1200ff
    73 d3               jae hear
    aa                  stosb
    e8 4f 00 00 00      call say
    eb cb               jmp hear
                        heard:
    c6 07 00            mov byte ptr [edi], 0
    b0 0d               mov al, 13
    e8 43 00 00 00      call say
    b0 0a               mov al, 10
    e8 3c 00 00 00      call say
                        answer:
    bf 00 00 12 00      mov edi, 0x120000
                        compare:
    ac                  lodsb
    3c 06               cmp al, 6
    74 09               je matched
    3a 07               cmp al, [edi]
    75 0b               jne differs
    47                  inc edi
    84 c0               test al, al
    75 f2               jnz compare
                        matched:
    ad                  lodsd
    89 c6               mov esi, eax
    eb 81               jmp next
                        skip:
    ac                  lodsb
                        differs:
    84 c0               test al, al
    75 fb               jnz skip
    ad                  lodsd
    eb e0               jmp answer
                        halt:
    fa                  cli
    f4                  hlt
    eb fc               jmp halt
                        reset:
    b0 fe               mov al, 0xfe
    e6 64               out 0x64, al
    eb fa               jmp reset
                        off:
    66 ba 04 06         mov dx, 0x604
    66 b8 00 34         mov ax, 0x3400
    66 ef               out dx, ax
    66 b8 00 20         mov ax, 0x2000
    66 ef               out dx, ax
    eb ee               jmp off
                        say:
    88 c4               mov ah, al
    66 ba fd 03         mov dx, 0x3fd
                        full:
    ec                  in al, dx
    a8 20               test al, 0x20
    74 fb               jz full
    88 e0               mov al, ah
    66 ba f8 03         mov dx, 0x3f8
    ee                  out dx, al
    c3                  ret
"""
"""Machine code and, for people and a test that assembles it, what it is; `script` is what follows it."""


@dataclass
class _Prompt:
    """A prompt with its answers; the first has the program's beginning before it, and no prompt."""

    text: str = ""
    answers: list[tuple[str | None, list[tuple[str, str]]]] = field(default_factory=list)
    """Answers (None: any) with what is done: kind and text of each line."""


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the kernel."""
    needed(inputs)
    known(parameters, "script")
    if "script" not in parameters:
        raise RecipeError("takes the parameter script, which is missing")
    code = bytes.fromhex("".join(line[:24] for line in CODE.splitlines()))
    script = _assemble(_parse(parameters["script"]), BASE + HEADER_SIZE + len(code))
    if BASE + HEADER_SIZE + len(code) + len(script) > LINE:
        raise RecipeError(f"script: has {len(script)} bytes, which is too long")
    checksum = -(_MAGIC + _ADDRESS_FIELDS) & 0xFFFF_FFFF
    header = struct.pack("<8I", _MAGIC, _ADDRESS_FIELDS, checksum, BASE, BASE, 0, 0, BASE + HEADER_SIZE)
    output.write(header + code + script)


def _parse(script: str) -> list[_Prompt]:
    prompts = [_Prompt(answers=[(None, [])])]
    for number, line in enumerate(script.splitlines(), 1):
        kind, text = line[:1], line[2:]
        if not line or kind == "#":
            continue
        where = f"script: line {number}: {line!r}"
        if kind not in "|?>!" or line[1:2] not in ("", " ") or not line.isprintable():
            raise RecipeError(f"{where} does not begin with `| `, `? `, `> `, `! ` or `#`")
        done = prompts[-1].answers[-1][1] if prompts[-1].answers else None
        if kind == "?":
            if len(prompts) > 1 and not prompts[-1].answers:
                raise RecipeError(f"{where} follows a prompt that takes no answer")
            prompts.append(_Prompt(text))
        elif kind == ">":
            if len(prompts) == 1 or (prompts[-1].answers and prompts[-1].answers[-1][0] is None):
                raise RecipeError(f"{where} is no answer to a prompt")
            prompts[-1].answers.append((None if text == "*" else text, []))
        elif done is None:
            raise RecipeError(f"{where} follows a prompt: an answer is wanted")
        elif kind == "!" and text not in (*ACTIONS, "next"):
            raise RecipeError(f"{where} is not one of next, {', '.join(ACTIONS)}")
        else:
            done.append((kind, text))
    if not prompts[-1].answers:
        raise RecipeError(f"script: the prompt {prompts[-1].text!r} takes no answer")
    return prompts


def _assemble(prompts: list[_Prompt], base: int) -> bytes:
    """The program's text. Addresses of what comes later are those of a first pass, which has them wrong."""
    marks: dict[object, int] = {}
    script = b""
    for _ in range(2):
        script = b""
        for part, mark in _parts(prompts, marks):
            if mark is not None:
                marks[mark] = base + len(script)
            script += part
    return script


def _parts(prompts: list[_Prompt], marks: Mapping[object, int]) -> Iterator[tuple[bytes, object]]:
    """The pieces of the text, each with the mark of its address, if something goes there."""

    def address(mark: object) -> bytes:
        return struct.pack("<I", marks.get(mark, 0))

    def go(mark: object) -> bytes:
        return bytes([GO]) + address(mark)

    for number, prompt in enumerate(prompts):
        yield b"", number
        if number:
            table = b"".join(
                (bytes([ANY]) if text is None else text.encode() + b"\0") + address((number, index))
                for index, (text, _) in enumerate(prompt.answers)
            )
            yield prompt.text.encode() + bytes([ASK]) + table + bytes([ANY]) + address(number), None
        for index, (_, done) in enumerate(prompt.answers):
            yield b"", (number, index)
            for kind, text in done:
                if kind == "|":
                    yield text.encode() + b"\r\n", None
                else:
                    yield go(number + 1) if text == "next" else bytes([ACTIONS[text]]), None
            yield go(number if number else 1), None
    yield bytes([HALT]), len(prompts)
