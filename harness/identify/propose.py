"""A guest's file for an image that was identified: what is sure, what is likely, and one rung."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from bringup.guests.bounded import width
from bringup.guests.definition import Architecture
from bringup.harness.errors import HarnessError
from bringup.harness.vmms.definition import Vmm

from .image import Identified, Start

HEAD = "# Proposed by `bringup guests add` from what it found:"
_MARK = "# While this fits what is above another proposal may replace it: "
ANYTHING = r"[^\s]"
"""The evidence where nothing is known: that it says anything."""
BOOTED = rf"Booting from [^\n]{{1,40}}\s{{1,9}}(?!Boot failed){ANYTHING}"
"""That of a guest that SeaBIOS starts: it says anything after what SeaBIOS says."""
INSTRUCTIONS = 250_000_000
"""For each guest second of the limit: a system that waits for a key without HLT needs four times as many."""
_CONFIGURATION = "console=0 b9600\n*nomp=1\nuser=glenda\n"
"""Plan 9's, which it wants to find as its first module."""


def name_for(path: Path) -> str:
    """A guest's name after its image's: small letters, digits, `-`, `.`, `+`, `_`."""
    stem = re.sub(r"(\.(img|ima|flp|vfd|iso|bin|raw|dsk|qcow2|elf|gz))+$", "", path.name.lower())
    plain = re.sub(r"[^a-z0-9.+_-]+", "-", stem).strip("-._+")
    return plain[:48] or "image"


def propose(found: Identified, path: Path, sha256: str, *, expect: str | None, vmm: Vmm, seconds: float) -> str:
    """The file's text. `expect` is the rung's pattern in place of the one that the system is known by. On a VMM without
    a screen the BIOS is asked to draw on COM1, where that can be. HarnessError: `expect` is no pattern to look for."""
    if expect is not None:
        try:
            width(expect)
        except ValueError as error:
            raise HarnessError(f"--expect: {error}") from None
    lines = list(_lines(found, path, sha256, expect, vmm, seconds))
    facts = [f"# - {fact}" for fact in found.facts]
    return "\n".join([HEAD, *facts, *lines, f"{_MARK}{_digest(lines)}"]) + "\n"


def is_proposal_for(text: str, other: str) -> bool:
    """Is this a proposal that nobody has edited, of the same image as the other one?"""
    *lines, mark = text.removesuffix("\n").split("\n")
    lines = [line for line in lines if not line.startswith("# - ") and line != HEAD]
    images = [line for line in other.split("\n") if line.startswith(("file = ", "sha256 = "))]
    return mark == f"{_MARK}{_digest(lines)}" and all(line in lines for line in images)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _lines(found: Identified, path: Path, sha256: str, expect: str | None, vmm: Vmm, seconds: float) -> Iterator[str]:
    screen = vmm.capabilities.screen
    system, bios = found.system, found.start not in (Start.LINUX, Start.MULTIBOOT)
    what = system.title if system else "A guest"
    yield f"title = {_text(f'{what} from {path.name}')}"
    if system and system.family:
        yield f"family = {_text(system.family)}"
    yield 'release = "unknown"'
    architecture = found.architecture or (system.architecture if system else Architecture.I386)
    yield f"architecture = {_text(architecture.value)}"
    yield "tier = 3"
    yield f"limit = {{ guest = {seconds:g}, instructions = {int(seconds * INSTRUCTIONS)} }}"
    yield ""
    yield "[machine]"
    yield f"memory = {_text(system.memory if system else '256M')}"
    if bios:
        format = f", format = {_text(found.format)}" if found.format != "raw" else ""
        yield f'drives = [{{ kind = {_text(found.start.value)}, media = "image"{format} }}]'
        if not screen and "bios_serial" in vmm.options:
            yield "bios_serial = true"
    else:
        yield from _kernel(found)
    yield ""
    yield "[media.image]"
    yield 'kind = "path"'
    yield f"file = {_text(str(path.absolute()))}"
    yield f"sha256 = {_text(sha256)}"
    yield 'licence = "LicenseRef-unknown"'
    yield f"source = {_text(f'{path.name}, which you added')}"
    yield ""
    if found.packed:
        yield from ("[media.kernel]", 'kind = "recipe"', 'recipe = "gunzip"', 'inputs = ["image"]', "")
    if _wants_configuration(found):
        yield from ("[media.plan9ini]", 'kind = "recipe"', 'recipe = "text"', "")
        yield from ("[media.plan9ini.parameters]", f"text = {_text(_CONFIGURATION)}", "")
    if bios and screen:
        yield from ("[console.screen]", 'channel = "screen"', "")
    yield from ("[console.serial]", 'channel = "serial0"', "")
    yield "[[ladder]] # add rungs from what you see: docs/guests.md"
    yield f"id = {_text('expected' if expect is not None else 'up')}"
    yield 'console = "any"'
    if system and system.asks and not found.names.intersection(system.asks_without):
        steps = ", ".join(f'{{ wait = {_text(asked)} }}, {{ send = "\\r" }}' for asked in system.asks)
        yield f"steps = [{steps}]"
    usual = (system and system.evidence) or (BOOTED if bios else ANYTHING)
    yield f"pattern = {_pattern(usual if expect is None else expect)}"


def _kernel(found: Identified) -> Iterator[str]:
    yield f"kernel = {_text('kernel' if found.packed else 'image')}"
    append = found.system.append if found.system else ""
    if found.start is Start.MULTIBOOT:
        yield 'protocol = "multiboot"'
        if _wants_configuration(found):
            yield 'modules = ["plan9ini"]'
    else:
        append = "console=ttyS0,115200 panic=-1"
    if append:
        yield f"append = {_text(append)}"


def _wants_configuration(found: Identified) -> bool:
    return found.start is Start.MULTIBOOT and found.system is not None and found.system.family == "plan9"


def _pattern(text: str) -> str:
    """Without escapes, where that can be."""
    return f"'{text}'" if text.isprintable() and "'" not in text else _text(text)


def _text(text: str) -> str:
    """As a TOML string: JSON's escapes are TOML's, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
