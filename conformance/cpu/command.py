"""`bringup vcpu`: behaviours of vCPUs on VMMs, one table."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from bringup.conformance.cpu import catalogue, deviations
from bringup.conformance.cpu.images import ImageError
from bringup.conformance.cpu.results import Result, Verdict
from bringup.conformance.cpu.runner import CPU, Runner
from bringup.harness.arguments import vmm_argument
from bringup.harness.calibration import calibrate
from bringup.harness.errors import HarnessError
from bringup.harness.vmms.loader import LoadedVmm

WORDS = {Verdict.PASSED: "pass", Verdict.FAILED: "FAIL", Verdict.SKIPPED: "skip", Verdict.DIED: "DIED"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bringup vcpu`."""
    parser = subparsers.add_parser("vcpu", help="test what vCPUs do, on one VMM or several", allow_abbrev=False)
    parser.add_argument("--vmm", type=vmm_argument, action="append", metavar="NAME", help="(bringup); again for more")
    parser.add_argument("--run", action="append", default=[], metavar="NAME", help="a behaviour or a glob: 'paging.*'")
    parser.add_argument("--cpu", default=CPU, metavar="MODEL", help=f"CPU model ({CPU})")
    parser.add_argument("--accel", metavar="ACCEL", help="of bringup run: vtx or bare")
    parser.add_argument(
        "--list", action="store_true", help="tell what there is, with the manual's section; run nothing"
    )
    parser.set_defaults(handler=lambda options: _vcpu(options, parser))


def _vcpu(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    chosen = [name for name in catalogue.names() if _asked(name, options.run)]
    if not chosen:
        parser.error(f"--run: no behaviour is called {' or '.join(options.run)}; --list tells their names")
    if options.list:
        about = {behaviour.name: behaviour.what for behaviour in catalogue.behaviours()}
        print("\n".join(f"{name}: {about[name]}" for name in chosen))
        return 0
    scale, columns = calibrate(), {}
    vmms: dict[str, LoadedVmm] = {}
    try:
        for vmm in options.vmm or [vmm_argument("bringup")]:
            deviations.check(vmm)
            runner = Runner(vmm, scale, cpu=options.cpu, accel=options.accel)
            vmms[vmm.name] = vmm
            columns[vmm.name] = {result.name: result for result in runner.run(chosen)}
    except ImageError as error:
        raise HarnessError(str(error)) from None
    print("\n".join(table(chosen, columns, vmms)))
    bad = [
        name
        for vmm, results in columns.items()
        for name, result in results.items()
        if result.verdict in (Verdict.FAILED, Verdict.DIED) and deviations.known(vmms[vmm], name) is None
    ]
    return 1 if bad else 0


def _asked(name: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def table(
    names: Sequence[str], columns: Mapping[str, Mapping[str, Result]], vmms: Mapping[str, LoadedVmm]
) -> list[str]:
    """A line for each behaviour, a column for each VMM; then the reasons, and the counts."""
    width = max(map(len, names))
    lines = ["  ".join(["behaviour".ljust(width), *(vmm.ljust(8) for vmm in columns)]).rstrip()]
    for name in names:
        words = (WORDS[results[name].verdict].ljust(max(8, len(vmm))) for vmm, results in columns.items())
        lines.append("  ".join([name.ljust(width), *words]).rstrip())
    for vmm, results in columns.items():
        reasons = [result for result in results.values() if result.why]
        if reasons:
            lines += ["", f"{vmm}:"]
        for result in reasons:
            entry = deviations.known(vmms[vmm], result.name)
            expected = " (known)" if entry and result.verdict is not Verdict.SKIPPED else ""
            lines.append(f"  {WORDS[result.verdict]} {result.name}{expected}: {result.why}")
    lines.append("")
    for vmm, results in columns.items():
        counts = Counter(result.verdict.value for result in results.values())
        lines.append(
            f"{vmm}: {len(results)} behaviours, {', '.join(f'{n} {word}' for word, n in counts.most_common())}"
        )
    return lines
