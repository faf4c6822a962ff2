"""`bringup perf`: speed and memory of bringup's own machine and of QEMU TCG, in turn in one run."""

import argparse
import sys
import tempfile
from pathlib import Path

from bringup.conformance.perf import figures, measure, program, record, report, suite, targets
from bringup.conformance.perf.errors import PerfError
from bringup.guests.loader import load
from bringup.harness.media.resolve import Media

PAIRS = 9
PAGE = Path("docs/performance.md")
GUEST = "linux-debian12-cloud"
BOOT, START, MEMORY = "boot", "start", "memory"
ROWS = (BOOT, *(each.name for each in program.WORKLOADS), START, MEMORY)


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
    kernel = options.kernel or _fetch_kernel()
    version = report.kernel_version(kernel)
    vmms = []
    if options.vmm_only != "qemu":
        vmms.append(measure.bringup(options.accel))
    if options.vmm_only != "bringup" and not (options.perf_record and vmms):
        vmms.append(measure.qemu())
    with tempfile.NamedTemporaryFile(suffix=".cpio") as initrd:
        initrd.write(program.initrd())
        initrd.flush()
        boot = measure.Boot(kernel, Path(initrd.name))
        if options.perf_record:
            print(record.record(vmms[0], boot, options.perf_record))
            return 0
        page = _measure(options, vmms, boot, version)
    print(page.text())
    if options.write:
        report.write(page, options.write)
    return 0


def _fetch_kernel() -> Path:
    return Media().resolve(load(GUEST))["kernel"].path


def _measure(options: argparse.Namespace, vmms: list[measure.Vmm], boot: measure.Boot, version: str) -> report.Report:
    workloads = [each for each in program.WORKLOADS if each.name in options.rows]
    measured = suite.measure_all(
        vmms, boot, workloads, options.pairs, START in options.rows, lambda text: print(text, file=sys.stderr)
    )
    timed = figures.timed(measured, workloads, BOOT in options.rows)
    quantities = figures.quantities(measured, START in options.rows, MEMORY in options.rows)
    return report.Report(
        vmms=vmms,
        pairs=options.pairs,
        kernel=version,
        timed=timed,
        quantities=quantities,
        verdicts=targets.verdicts(timed, quantities),
        complaints=suite.miscounts(measured, vmms),
    )
