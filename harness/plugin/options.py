"""Options, ini values and markers. Imported by every pytest run of an environment: pytest is all that this imports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bringup.guests.definition import Guest
    from bringup.harness.media.resolve import Media
    from bringup.harness.plugin.run import PluginRun

RUN: pytest.StashKey[PluginRun] = pytest.StashKey()
"""What this process knows of the run, once there is something to know."""
MARKERS = (
    "guests(*names, tag=None, needs=()): the test is run on these guests (names or globs; with a tag), or on all that "
    "are asked for; each on every --vmm; `needs` as for vmms",
    "vmms(needs=()): the test is run on every --vmm; `needs` names capabilities of its file, without which it skips",
)
OURS = frozenset({"guests", "vmms"})
CI_TIER = 2
"""Guests up to this tier have media that anybody can fetch."""


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
        "--output-dir", type=Path, metavar="FOLDER", help="where runs leave records and bundles (bringup-out/)"
    )
    group.addoption(
        "--keep-on-failure",
        action="store_true",
        help="hold the machine of a failed attempt, for bringup attach (without -n)",
    )
    group.addoption("--repeat", type=_positive, default=1, metavar="N", help="run each test of guests N times")
    group.addoption("--seed", type=int, metavar="N", help="of the machines' random numbers")
    group.addoption("--offline", action="store_true", help="fetch no media: a guest without them skips")
    group.addoption(
        "--mirror",
        action="append",
        metavar="URL",
        help="a Debian mirror in place of the machine's apt; twice: security",
    )
    group.addoption("--keyring", type=Path, metavar="FILE", help="keys of that mirror")
    group.addoption(
        "--require-media", action="store_true", help="a guest whose media cannot be had fails in place of skipping"
    )
    parser.addini("bringup_keep_runs", "how many runs are kept in the output folder (20)", default="")
    parser.addini(
        "bringup_require_media",
        "as --require-media: true, false, or ci (the default): with CI=true, for guests whose media anybody can fetch",
        default="ci",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def is_ours(node: pytest.Item) -> bool:
    """Has the test one of our markers?"""
    return any(marker.name in OURS for marker in node.iter_markers())


def output(config: pytest.Config) -> Path:
    """The output folder."""
    from bringup.harness.session import OUTPUT

    given: Path | None = config.getoption("output_dir")
    return (given or OUTPUT).absolute()


def keep(config: pytest.Config) -> int:
    """How many runs are kept; UsageError unless a positive number."""
    from bringup.harness.session import KEEP

    text = config.getini("bringup_keep_runs") or str(KEEP)
    if not text.isdecimal() or int(text) < 1:
        raise pytest.UsageError(f"bringup_keep_runs: {text!r} is not a positive number")
    return int(text)


def requires_media(config: pytest.Config, guest: Guest) -> bool:
    """Does a guest without its media fail? UsageError: the ini value is wrong."""
    if config.getoption("require_media"):
        return True
    match config.getini("bringup_require_media"):
        case "true":
            return True
        case "false":
            return False
        case "ci":
            in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
            return in_ci and (guest.definition.tier <= CI_TIER or bool(os.environ.get("BRINGUP_MEDIA")))
        case other:
            raise pytest.UsageError(f"bringup_require_media: {other!r} is not true, false or ci")


def media(config: pytest.Config) -> Media:
    """Where the options have media from."""
    from bringup.harness.media import options

    return options.media(config.option)


def concerns_us(config: pytest.Config) -> bool:
    """Is this a run of guests? Asked before anything is collected, so by the command line."""
    return bool(config.getoption("vmm") or config.getoption("guest")) or any(
        "conformance" in argument for argument in config.args
    )
