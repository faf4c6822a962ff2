"""Options, ini values and markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bringup.harness import host
from bringup.harness.schedule.tokens import MIB, RESERVED
from bringup.harness.session import KEEP, OUTPUT

MARKERS = (
    "guests(*names, tag=None, needs=()): the test is run on these guests (names or globs; with a tag), or on all that "
    "are asked for; each on every --vmm; `needs` as for vmms",
    "vmms(needs=()): the test is run on every --vmm; `needs` names capabilities of its file, without which it skips",
)
MACHINE = 768 * MIB
"""Memory that a worker is counted with: most guests are content with 256 or 512 MiB."""


def add(parser: pytest.Parser) -> None:
    """Adds our options."""
    group = parser.getgroup("bringup", "guests on VMMs (bringup)")
    group.addoption(
        "--guest", action="append", metavar="NAME", help="a guest: a name, a glob, a TOML file; again for more"
    )
    group.addoption("--tag", action="append", metavar="TAG", help="only guests with this tag; again for more")
    group.addoption("--tier", type=int, choices=(1, 2, 3), help="only guests up to this tier (2)")
    group.addoption(
        "--vmm", action="append", metavar="NAME", help="a VMM: a name or a TOML file; again for a matrix (bringup)"
    )
    group.addoption(
        "--output-dir", type=Path, metavar="FOLDER", help=f"where runs leave records and bundles ({OUTPUT}/)"
    )
    group.addoption("--keep-on-failure", action="store_true", help="leave the machine of a failed attempt alive")
    group.addoption("--repeat", type=_positive, default=1, metavar="N", help="run each guest N times")
    group.addoption("--seed", type=int, metavar="N", help="of the machines' random numbers")
    group.addoption("--offline", action="store_true", help="fetch no media: a guest without them skips")
    group.addoption(
        "--require-media", action="store_true", help="a guest whose media cannot be had fails in place of skipping"
    )
    parser.addini("bringup_keep_runs", "how many runs are kept in the output folder", default=str(KEEP))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def output(config: pytest.Config) -> Path:
    """The output folder."""
    given: Path | None = config.getoption("output_dir")
    return (given or Path(OUTPUT)).absolute()


def keep(config: pytest.Config) -> int:
    """How many runs are kept; UsageError unless a positive number."""
    text = config.getini("bringup_keep_runs")
    if not text.isdecimal() or int(text) < 1:
        raise pytest.UsageError(f"bringup_keep_runs: {text!r} is not a positive number")
    return int(text)


def concerns_us(config: pytest.Config) -> bool:
    """Is this a run of guests? Asked before anything is collected, so by the command line."""
    return bool(config.getoption("vmm") or config.getoption("guest")) or any(
        "conformance" in argument for argument in config.args
    )


def workers() -> int:
    """xdist workers: one for each processor, as far as there is memory for their machines."""
    room = (host.memory_available() - RESERVED) // MACHINE
    return max(1, min(host.cpus(), room))
