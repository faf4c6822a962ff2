"""The table, on a terminal and in docs/performance.md."""

import os
import platform
import re
import struct
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.figures import Quantity, Spread, Timed
from bringup.conformance.perf.measure import RAM, Vmm
from bringup.conformance.perf.process import MIB

NOTES = "## Notes"
"""Heading of the page's last section, which is written by hand and kept."""

_INTRODUCTION = """\
`bringup perf --write` measures this and writes it here, all but the last section. Seconds are the VMM's CPU time, user
and system. A ratio compares the two runs of a pair. Given are the median and, in brackets, the least and the greatest.
An iteration of a REP counts as an instruction; *native* is the same program on the host's own processor. The first
guest instruction is the kernel's, which on QEMU comes after its firmware's.

Boot to init counts from the start of the VMM's process; SeaBIOS, OpenBSD and 9front count from their reset, by the
VMM's process alone: what drives it is not among it. The disk is read by a program of our own behind SeaBIOS, 256
sectors a command (READ DMA with its interrupt, READ SECTORS polled), and another moves 24 rows up and writes one."""

# Linux, Documentation/arch/x86/boot.rst: the setup header's magic, and where its version string is.
_HEADER_MAGIC, _HEADER_VERSION = 0x202, 0x20E


@dataclass(frozen=True)
class Report:
    """All that is reported of one measurement."""

    vmms: Sequence[Vmm]
    pairs: int
    kernel: str | None
    """Linux' version; None: there was none."""
    timed: Sequence[Timed]
    quantities: Sequence[Quantity]
    verdicts: Sequence[str]
    complaints: Sequence[str]

    def text(self) -> str:
        """For a terminal."""
        return "\n\n".join(filter(None, (self._conditions(), *map(aligned, self._tables()), *self._sentences())))

    def markdown(self, notes: str) -> str:
        """The page; `notes` are its last section's text."""
        parts = [
            "# Speed and memory",
            _INTRODUCTION,
            self._conditions(),
            *map(_markdown, self._tables()),
            *(["## Targets"] if self.verdicts else []),
            *self._sentences(),
            NOTES,
            notes.strip() or "None.",
        ]
        return "\n\n".join(parts) + "\n"

    def _conditions(self) -> str:
        date = datetime.now(UTC).date()
        runs = f"{self.pairs} pairs in alternating order" if len(self.vmms) == 2 else f"{self.pairs} runs"
        fewer = [row for row in self.timed if row.runs < self.pairs]
        if fewer:
            runs += f", {fewer[0].runs} of {' and '.join(row.title for row in fewer)}"
        vmms = "; ".join(f"{vmm.name} is {vmm.title}" for vmm in self.vmms)
        load = f"load average {os.getloadavg()[1]:.1f}"
        guest = f"guest with {RAM // MIB} MiB, Linux {self.kernel}; " if self.kernel else ""
        text = f"{date}, {host()}, {load}; {runs}; {guest}{vmms}."
        return textwrap.fill(text, 120, break_on_hyphens=False)

    def _tables(self) -> list[list[list[str]]]:
        return [table for table in (self._timed(), self._quantities()) if len(table) > 1]

    def _timed(self) -> list[list[str]]:
        names = [vmm.name for vmm in self.vmms]
        header = ["", "instructions", "native MIPS"]
        for name in names:
            header += [f"{name} s", f"{name} MIPS"]
        if len(names) == 2:
            header.append("/".join(names))
        table = [header]
        for row in self.timed:
            cells = [row.title, _number(row.instructions and row.instructions / 1e6, " M"), _number(row.native_mips)]
            for name in names:
                cells += [_number(row.seconds[name].median), _number(row.mips(name))]
            if len(names) == 2:
                cells.append(spread(row.ratio))
            table.append(cells)
        return table

    def _quantities(self) -> list[list[str]]:
        names = [vmm.name for vmm in self.vmms]
        return [["", *names]] + [
            [f"{row.title}, {row.unit}", *(spread(row.values.get(name)) for name in names)] for row in self.quantities
        ]

    def _sentences(self) -> list[str]:
        verdicts = "\n".join(f"- {verdict}" for verdict in self.verdicts)
        complaints = "\n".join(f"- {complaint}" for complaint in self.complaints)
        return [part for part in (verdicts, complaints) if part]


def write(report: Report, path: Path) -> None:
    """Writes the page, whose notes stay as they are; PerfError when it cannot be written."""
    try:
        before = path.read_text() if path.exists() else ""
        _, _, notes = before.partition(f"\n{NOTES}\n")
        path.write_text(report.markdown(notes))
    except OSError as error:
        raise PerfError(f"{path}: cannot be written: {error.strerror}") from None


def host() -> str:
    """The host in a few words."""
    return describe_host(Path("/proc/cpuinfo").read_text(), os.cpu_count() or 1, platform.release())


def describe_host(cpuinfo: str, processors: int, release: str) -> str:
    """The same, of this text of /proc/cpuinfo."""
    fields: Mapping[str, str] = dict(re.findall(r"^([^\t:]+)\t*: (.*)$", cpuinfo, re.MULTILINE))
    model = fields.get("model name", "unknown processor").strip()
    numbers = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return f"{model} ({numbers}), {processors} processors, Linux {release}"


def kernel_version(path: Path) -> str:
    """The release that a bzImage states, such as 6.1.0-56-cloud-amd64; PerfError when it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(64 << 10)
    except OSError as error:
        raise PerfError(f"kernel {path}: {error.strerror}") from None
    if head[_HEADER_MAGIC : _HEADER_MAGIC + 4] != b"HdrS":
        raise PerfError(f"kernel {path}: not a Linux bzImage")
    (offset,) = struct.unpack_from("<H", head, _HEADER_VERSION)
    text = head[offset + 0x200 :].partition(b"\0")[0].decode("ascii", errors="replace")
    return text.split()[0] if offset and text.split() else "of unknown version"


def _number(value: float | None, unit: str = "") -> str:
    """Three significant digits at least, and no fewer than the whole part has."""
    if value is None:
        return "-"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}{unit}"


def spread(values: Spread | None) -> str:
    """`median (least to greatest)`."""
    if values is None:
        return "-"
    return f"{_number(values.median)} ({_number(values.low)} to {_number(values.high)})"


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Columns side by side, all but the first to the right."""
    first, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in table
    )


def _markdown(table: Sequence[Sequence[str]]) -> str:
    header, *rows = table
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
