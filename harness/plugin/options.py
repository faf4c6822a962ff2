"""Options, ini values and markers. Imported by every pytest run of an environment: pytest is all that this imports."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
GROUP = ("bringup", "guests on VMMs (bringup)")
SIGNS = ("--vmm", "--guest", "--bringup-")
"""Beginnings of options that tell a run of guests."""
ANYBODY = 2
"""Guests up to this tier have media that anybody can fetch; others' are the user's to bring."""


def _options() -> dict[str, dict[str, Any]]:
    """By name; each is there as `--bringup-NAME`, too."""
    return {
        "guest": {
            "action": "append",
            "metavar": "NAME",
            "help": "a guest: a name, a glob, a TOML file; again for more",
        },
        "tag": {"action": "append", "metavar": "TAG", "help": "only guests with this tag; again for more"},
        "tier": {"type": int, "choices": (1, 2, 3, 4), "help": "guests up to this tier (2), beside those of --guest"},
        "vmm": {"action": "append", "metavar": "NAME", "help": "a VMM: a name, a TOML file; again for more (bringup)"},
        "output-dir": {"type": Path, "metavar": "FOLDER", "help": "of records and bundles (bringup-out/)"},
        "keep-on-failure": {
            "action": "store_true",
            "help": "hold the machine of a failed attempt, for bringup attach (without -n)",
        },
        "repeat": {"type": _positive, "default": 1, "metavar": "N", "help": "run each test of guests N times"},
        "seed": {"type": _seed, "metavar": "N", "help": "of the machines' random numbers"},
        "offline": {"action": "store_true", "help": "fetch no media: a guest without them skips"},
        "mirror": {
            "action": "append",
            "metavar": "URL",
            "help": "a Debian mirror in place of the machine's apt; twice: security",
        },
        "keyring": {"type": Path, "metavar": "FILE", "help": "keys of that mirror"},
        "require-media": {
            "action": "store_true",
            "help": "a guest whose media anybody can fetch fails without them, in place of skipping",
        },
        "require-guests": {
            "action": "store_true",
            "help": "as --require-media, and so does one whose media are here and that a VMM cannot run",
        },
    }


def add(parser: pytest.Parser) -> None:
    """Adds our options and ini values. The short names only as far as this command line has them: a project with an
    option --seed of its own must not fail because bringup is installed, too."""
    group = parser.getgroup(*GROUP)
    words = {word.partition("=")[0] for word in sys.argv}
    concerned = any("conformance" in word or word.startswith(SIGNS) for word in words)
    for name, about in _options().items():
        group.addoption(f"--bringup-{name}", dest=_dest(name), **{**about, "help": argparse.SUPPRESS})
        if concerned and f"--{name}" in words:
            group.addoption(f"--{name}", dest=_dest(name), **about)
    parser.addini("bringup_keep_runs", "how many runs are kept in the output folder (20)", default="")
    parser.addini(
        "bringup_require_media",
        "as --require-media: true, false, or ci (the default): with CI=true, for guests whose media anybody can fetch",
        default="ci",
    )


def add_short_names(parser: pytest.Parser) -> None:
    """Once conftest.py files have added theirs: the short names that are free."""
    group = parser.getgroup(*GROUP)
    for name, about in _options().items():
        with suppress(ValueError, argparse.ArgumentError):  # it is ours since `add`, or the project's
            group.addoption(f"--{name}", dest=_dest(name), **about)


def _dest(name: str) -> str:
    return f"bringup_{name.replace('-', '_')}"


def get(config: pytest.Config, name: str) -> Any:
    """The value of an option of ours, by its name."""
    return config.getoption(_dest(name))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number below 2^64")
    return int(text)


def is_ours(node: pytest.Item) -> bool:
    """Has the test one of our markers?"""
    return any(marker.name in OURS for marker in node.iter_markers())


def output(config: pytest.Config) -> Path:
    """The output folder."""
    from bringup.harness.session import OUTPUT

    given: Path | None = get(config, "output-dir")
    return (given or OUTPUT).absolute()


def check(config: pytest.Config) -> None:
    """UsageError, one line before anything is collected: there is no such guest, VMM or tag, the output folder cannot
    be made, or media are required and a folder of theirs is none."""
    if concerns_us(config) and media_are_required(config):
        for named in filter(None, os.environ.get("BRINGUP_MEDIA", "").split(os.pathsep)):
            if not Path(named).is_dir():
                raise pytest.UsageError(f"BRINGUP_MEDIA: {named}: there is no such folder")
    if any(get(config, name) for name in ("guest", "vmm", "tag")):
        from bringup.harness.plugin import matrix

        matrix.vmms(config)
        if not matrix.guests(config, (), None):
            raise pytest.UsageError(f"--tag: {matrix.no_guest(config)}")
    if get(config, "output-dir") is not None:
        folder = output(config)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--output-dir {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise pytest.UsageError(f"--output-dir {folder}: nothing can be written there")


def keep(config: pytest.Config) -> int:
    """How many runs are kept; UsageError unless a positive number."""
    from bringup.harness.session import KEEP

    text = config.getini("bringup_keep_runs") or str(KEEP)
    if not text.isdecimal() or int(text) < 1:
        raise pytest.UsageError(f"bringup_keep_runs: {text!r} is not a positive number")
    return int(text)


def media_are_required(config: pytest.Config) -> bool:
    """Must media that anybody can fetch be had? UsageError: the ini value is wrong."""
    ini = config.getini("bringup_require_media")
    if ini not in ("true", "false", "ci"):
        raise pytest.UsageError(f"bringup_require_media: {ini!r} is not true, false or ci")
    in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return get(config, "require-media") or get(config, "require-guests") or ini == "true" or (ini == "ci" and in_ci)


def requires_media(config: pytest.Config, guest: Guest) -> bool:
    """Does this guest fail without its media? One whose media are the user's to bring never does."""
    return guest.definition.tier <= ANYBODY and media_are_required(config)


def media(config: pytest.Config) -> Media:
    """Where the options have media from."""
    from bringup.harness.media import options

    names = ("offline", "mirror", "keyring")
    return options.media(argparse.Namespace(**{name: get(config, name) for name in names}))


def concerns_us(config: pytest.Config) -> bool:
    """Is this a run of guests? Asked before anything is collected, so by the command line."""
    return bool(get(config, "vmm") or get(config, "guest")) or any(
        "conformance" in argument for argument in config.args
    )
