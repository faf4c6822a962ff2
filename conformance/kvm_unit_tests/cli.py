"""`bringup kvm-unit-tests`: other people's tests on bringup's machine, beside QEMU TCG."""

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bringup.conformance.kvm_unit_tests import runner, suite
from bringup.conformance.kvm_unit_tests.runner import Outcome, Result, Vmm
from bringup.conformance.kvm_unit_tests.suite import SuiteError, UnitTest
from bringup.harness.page import Page

PAGE = Path("docs/kvm-unit-tests.md")
ACCELS = ("vtx", "bare")


def jobs(text: str) -> int:
    """A number of processes, from 1."""
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000")
    return int(text)


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `bringup kvm-unit-tests`."""
    parser = subparsers.add_parser("kvm-unit-tests", help="run kvm-unit-tests, beside QEMU TCG", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="tests, such as smap or i386/smap (all)")
    parser.add_argument("--folder", type=Path, help=f"with x86_64/*.flat and i386/*.flat ({suite.VARIABLE})")
    parser.add_argument("--accel", choices=ACCELS, help="one of both ways to run the guest (both)")
    parser.add_argument("--no-qemu", action="store_true", help="bringup alone")
    parser.add_argument("--jobs", type=jobs, default=1, metavar="N", help="tests at the same time (1)")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=PAGE, metavar="FILE", help=f"keep the table in a page ({PAGE})"
    )
    parser.set_defaults(handler=handle)


def handle(options: argparse.Namespace) -> int:
    """Prints the table; 0 when all tests came out as suite.toml says, 1 when one did not."""
    folder, tests = suite.folder(options.folder), select(options.names)
    page = Page(options.write) if options.write else None
    vmms = [runner.bringup(accel) for accel in ACCELS if options.accel in (None, accel)]
    if not options.no_qemu:
        vmms.append(runner.qemu())
    print(line("", *(vmm.name for vmm in vmms)), flush=True)
    rows: list[tuple[UnitTest, list[Result]]] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for test, results in zip(tests, pool.map(lambda test: run_row(test, vmms, folder), tests), strict=True):
            rows.append((test, results))
            print(line(test.title, *map(cell, results)), flush=True)
            for result in results[: len(vmms) - (not options.no_qemu)]:
                if result.outcome is not Outcome.PASS:
                    print(f"    {result.reason}", flush=True)
    if page:
        page.keep(table(vmms, rows))
    ours = [vmm.name in ACCELS for vmm in vmms]
    surprises = [
        test.title
        for test, results in rows
        if any(is_ours and surprising(test, result) for is_ours, result in zip(ours, results, strict=True))
    ]
    for title in surprises:
        print(f"bringup: {title} did not come out as suite.toml says", file=sys.stderr)
    return 1 if surprises else 0


def surprising(test: UnitTest, result: Result) -> bool:
    """Passed though it is known not to, or the other way round."""
    return (result.outcome is Outcome.PASS) == bool(test.known)


def select(names: Iterable[str]) -> list[UnitTest]:
    """Tests by name or title; SuiteError for one that there is not."""
    everything = suite.tests()
    for name in names:
        if not any(name in (test.name, test.title) for test in everything):
            raise SuiteError(
                f"there is no test {name!r}; there are {', '.join(dict.fromkeys(t.name for t in everything))}"
            )
    return [test for test in everything if not names or test.name in names or test.title in names]


def run_row(test: UnitTest, vmms: Iterable[Vmm], folder: Path) -> list[Result]:
    """One test on each VMM, one after the other."""
    return [runner.run(test, vmm, folder) for vmm in vmms]


def cell(result: Result) -> str:
    """`pass 0.4 s`"""
    outcome = f"status {result.status}" if result.outcome is Outcome.ENDED else result.outcome
    return f"{outcome} {result.seconds:.1f} s"


def line(title: str, *cells: str) -> str:
    """A row for a terminal."""
    return f"{title:<32}" + "".join(f"{each:<16}" for each in cells).rstrip()


def table(vmms: Iterable[Vmm], rows: Iterable[tuple[UnitTest, list[Result]]]) -> list[str]:
    """As lines of Markdown."""
    names = [vmm.name for vmm in vmms]
    lines = [f"| test | {' | '.join(names)} | |", f"| --- |{' --- |' * len(names)} --- |"]
    for test, results in rows:
        cells = " | ".join(
            str(result.status) if result.outcome is Outcome.ENDED else result.outcome for result in results
        )
        lines.append(f"| {test.title} | {cells} | {test.known} |")
    return lines
