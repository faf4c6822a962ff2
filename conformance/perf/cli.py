"""`bringup perf`: speed and memory of bringup's own machine and of QEMU TCG, in turn in one run."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bringup.conformance.perf import board, figures, machines, measure, program, record, report, suite, targets
from bringup.conformance.perf.errors import PerfError
from bringup.guests.loader import load
from bringup.harness.media.resolve import Media, MediaMissing
from bringup.harness.prepare import Unsupported

PAIRS = 9
PAGE = Path("docs/performance.md")
GUEST = "linux-debian12-cloud"
BOOT, START, MEMORY = "boot", "start", "memory"
LINUX = (BOOT, *(each.name for each in program.WORKLOADS), MEMORY)
PARTS = {
    board.FIRMWARE: board.TITLE,
    **{row.name: row.title for row in machines.GUESTS},
    **{each.name: each.title for each in board.WORKLOADS},
}
"""Titles of the rows that are not the Linux guest's, in the table's order."""
ROWS = (BOOT, *(each.name for each in program.WORKLOADS), *PARTS, START, MEMORY)


def rows(text: str) -> list[str]:
    """Rows from `crc,boot`, in the table's order."""
    asked = text.split(",")
    for name in asked:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"there is no row {name!r}; there are {', '.join(ROWS)}")
    return [name for name in ROWS if name in asked]


def pairs(text: str) -> int:
    """A number of pairs, from 1."""
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000")
    return int(text)


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `bringup perf`."""
    parser = subparsers.add_parser("perf", help="measure speed and memory beside QEMU TCG", description=__doc__)
    parser.add_argument("--kernel", type=Path, metavar="FILE", help=f"a Linux bzImage (that of {GUEST})")
    parser.add_argument("--pairs", type=pairs, default=PAIRS, metavar="N", help=f"runs of each VMM ({PAIRS})")
    parser.add_argument("--rows", type=rows, default=list(ROWS), metavar="A,B", help=f"some of {','.join(ROWS)}")
    parser.add_argument("--vmm-only", choices=["bringup", "qemu"], help="measure one of the two")
    parser.add_argument("--accel", choices=["vtx", "bare"], default="vtx", help="how bringup runs the guest (vtx)")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=PAGE, metavar="FILE", help=f"keep the table in a page ({PAGE})"
    )
    parser.add_argument(
        "--perf-record", choices=[BOOT, *(each.name for each in program.WORKLOADS)], metavar="ROW",
        help="instead, run perf(1) on the VMM during boot or one workload and print the top symbols",
    )  # fmt: skip
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Measures and prints; PerfError when there is nothing to print."""
    if options.write and not options.write.parent.is_dir():
        raise PerfError(f"--write {options.write}: there is no folder {options.write.parent}")
    vmms = []
    if options.vmm_only != "qemu":
        vmms.append(measure.bringup(options.accel))
    if options.vmm_only != "bringup" and not (options.perf_record and vmms):
        vmms.append(measure.qemu())
    with tempfile.TemporaryDirectory() as folder:
        if options.perf_record:
            print(record.record(vmms[0], _linux(options, Path(folder)), options.perf_record))
            return 0
        page = _measure(options, vmms, Path(folder))
    print(page.text())
    if options.write:
        report.write(page, options.write)
    return 0


def _linux(options: argparse.Namespace, folder: Path) -> measure.Boot:
    """The Linux guest; its initial RAM disk lies in `folder`."""
    kernel = options.kernel or Media().resolve(load(GUEST))["kernel"].path
    report.kernel_version(kernel)
    initrd = folder / "initrd.cpio"
    initrd.write_bytes(program.initrd())
    return measure.Boot(kernel, initrd)


def _measure(options: argparse.Namespace, vmms: list[measure.Vmm], folder: Path) -> report.Report:
    workloads = [each for each in program.WORKLOADS if each.name in options.rows]
    linux = _linux(options, folder) if set(options.rows) & set(LINUX) else None
    parts, left_out = _parts(options.rows, vmms, folder)
    for line in left_out:
        print(line, file=sys.stderr)
    if left_out and not (linux or parts or START in options.rows):
        raise PerfError("nothing is left to measure")
    plan = suite.Plan(linux, workloads, START in options.rows, parts)
    measured = suite.measure_all(vmms, plan, options.pairs, lambda text: print(text, file=sys.stderr))
    timed = figures.timed(measured.linux, workloads, BOOT in options.rows) if measured.linux else []
    timed += figures.sampled(measured.parts, PARTS)
    quantities = figures.quantities(measured, START in options.rows, MEMORY in options.rows)
    return report.Report(
        vmms=vmms,
        pairs=options.pairs,
        kernel=report.kernel_version(linux.kernel) if linux else None,
        timed=timed,
        quantities=quantities,
        verdicts=targets.verdicts(timed, quantities),
        complaints=[*left_out, *suite.miscounts(measured, vmms)],
    )


def _parts(rows: Sequence[str], vmms: Sequence[measure.Vmm], folder: Path) -> tuple[list[suite.Part], list[str]]:
    """What gives those of the rows that are not Linux', and a sentence for each row whose media are not here."""
    media = Media()
    parts: list[suite.Part] = []
    left_out: list[str] = []

    def add(names: Sequence[str], part: Callable[[], suite.Part]) -> None:
        try:
            parts.append(part())
        except (MediaMissing, Unsupported) as error:
            left_out.append(f"{', '.join(names)}: left out: {error}")

    on_board = [name for name in rows if name in (board.FIRMWARE, *(each.name for each in board.WORKLOADS))]
    for names in ([name for name in on_board if name != board.LONG], [name for name in on_board if name == board.LONG]):
        if names:
            add(names, partial(board.BoardPart, names, vmms, media, folder))
    for row in machines.GUESTS:
        if row.name in rows:
            add([row.name], partial(machines.GuestPart, row, vmms, media))
    return parts, left_out
