"""`bringup vmm`: the VMMs that are known, and whether one does what its file states."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bringup.harness.arguments import vmm_argument
from bringup.harness.calibration import calibrate
from bringup.harness.media.resolve import Media

from .check import Check, Finding, State
from .loader import LoadedVmm, VmmError, load, names
from .probe import LinuxProbe, Probe, SmallProbe

COLOURS = {State.WORKS: "green", State.FAILS: "red", State.ABSENT: "yellow", State.UNTRIED: "yellow"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bringup vmm`."""
    parser = subparsers.add_parser("vmm", help="list VMMs; check one", allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the VMMs that come with bringup, and whether they are here")
    listing.set_defaults(handler=_list)
    checking = actions.add_parser("check", help="boot a ten-second guest; say what works and what is missing")
    checking.add_argument("vmm", type=vmm_argument, metavar="VMM", help="a name (bringup vmm list) or a .toml file")
    checking.add_argument("--guest", choices=["small", "linux"], help="in place of the one that suits the VMM")
    checking.set_defaults(handler=_check)


def _list(options: argparse.Namespace) -> int:
    console = Console(highlight=False, soft_wrap=True)
    for name in names():
        vmm = load(name)
        try:
            version, style = vmm.version(), ""
        except VmmError as error:
            version, style = f"not here: {error}", "dim"
        console.print(Text(f"{name:10} {vmm.definition.title:50} {version}", style=style))
    return 0


def _check(options: argparse.Namespace) -> int:
    vmm: LoadedVmm = options.vmm
    console = Console(highlight=False, soft_wrap=True)

    def tell(finding: Finding) -> None:
        console.print(
            Text.assemble(
                f"{finding.name:19}", (f"{finding.state.value:14}", COLOURS[finding.state]), _printable(finding.text)
            )
        )

    console.print(Text(f"{vmm.name}: {vmm.definition.title}"))
    with tempfile.TemporaryDirectory(prefix="bringup-") as folder:
        check = Check(vmm, _probe(vmm, options.guest, Path(folder)), calibrate(), tell)
        console.print(Text(f"guest: {check.probe.title}"))
        good = check.run()
    wrong = [finding.name for finding in check.findings if finding.state is State.FAILS]
    absent = [finding.name for finding in check.findings if finding.state is State.ABSENT]
    if wrong:
        print(f"bringup: {vmm.name}: {', '.join(wrong)}: stated and does not work", file=sys.stderr)
    else:
        rest = f"; not offered: {', '.join(absent)}" if absent else ""
        console.print(Text(f"All that is stated works{rest}."))
    return 0 if good else 1


def _probe(vmm: LoadedVmm, asked: str | None, folder: Path) -> Probe:
    boots = vmm.definition.capabilities.boot
    if asked == "small" or (asked is None and "multiboot" in boots):
        return SmallProbe(folder)
    if asked == "linux" or "linux" in boots:
        return LinuxProbe(Media())
    raise VmmError(f"{vmm.name}: capabilities.boot: the check needs `multiboot` or `linux`")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
