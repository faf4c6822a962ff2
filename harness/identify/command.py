"""`bringup guests add IMAGE`: identifies an image, writes a guest's file for it, and boots that if it is asked to."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bringup.guests import loader
from bringup.harness import boot
from bringup.harness.arguments import Parser, vmm_argument
from bringup.harness.errors import HarnessError
from bringup.harness.media.store import disk_errors, file_sha256
from bringup.harness.vmms.loader import LoadedVmm

from .image import identify
from .propose import is_proposal_for, name_for, propose

SECONDS = 120.0
"""Guest seconds that the guest has for its rung unless told otherwise."""


def add(arguments: Sequence[str]) -> int:
    """What follows `bringup guests add`; the exit status, with --boot that of `bringup boot`."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.boot:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        path = _add(options)
    except HarnessError as error:
        if not options.boot:
            raise
        print(f"bringup: {error}", file=sys.stderr)
        return boot.NOT_TRIED
    return _boot(path, options.vmm, rest) if options.boot else 0


def _add(options: argparse.Namespace) -> Path:
    """The file that is written."""
    image: Path = options.image
    name = options.name or name_for(image)
    if name in loader.names():
        raise HarnessError(f"{name!r} is the name of a guest that ships: --name gives this one another")
    found = identify(image)
    with disk_errors(str(image)):
        sha256 = file_sha256(image)
    text = propose(found, image, sha256, expect=options.expect, vmm=options.vmm.definition, seconds=options.seconds)
    for fact in found.facts:
        print(f"  {fact}")
    path = _write(loader.own_folder() / f"{name}.toml", text, options.force)
    print(f"{name}: {path}", flush=True)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="bringup guests add",
        description="Identifies an image, and writes a guest's file for it.",
        epilog="with --boot, options of `bringup boot` may follow",
        allow_abbrev=False,
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="of a floppy, a CD, a disk; a kernel")
    parser.add_argument("--name", type=_name, help="of the guest (that of the image)")
    parser.add_argument("--force", action="store_true", help="replace a file of that name")
    parser.add_argument("--boot", action="store_true", help="boot it at once")
    parser.add_argument("--expect", metavar="TEXT", help="what it says when it is up, on any console: a pattern")
    parser.add_argument(
        "--seconds", type=_seconds, default=SECONDS, metavar="N", help=f"guest seconds that it has ({SECONDS:g})"
    )
    parser.add_argument("--vmm", type=vmm_argument, default="bringup", help="that boots it (bringup)")
    return parser


def _name(text: str) -> str:
    if not loader.is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of small letters, digits, `-`, `.`, `+`, `_`")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 86400")
    return seconds


def _write(path: Path, text: str, force: bool) -> Path:
    """The file, whole or not at all. What is there already stays unless `force`, or it is what was proposed before for
    the same image, and nobody has edited it since."""
    try:
        if not force and path.exists() and not is_proposal_for(path.read_text(), text):
            raise HarnessError(f"{path}: is there already: --force replaces it, --name gives this one another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)  # noqa: PTH101
        Path(file.name).replace(path)
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}") from None
    try:
        loader.load_file(path)  # what is written must be what is read
    except loader.GuestError as error:
        path.unlink()
        raise HarnessError(str(error)) from None
    return path


def _boot(path: Path, vmm: LoadedVmm, rest: Sequence[str]) -> int:
    parser: argparse.ArgumentParser = Parser(prog="bringup guests add --boot")
    boot.register(parser.add_subparsers(required=True))
    options = parser.parse_args(["boot", str(path), f"--vmm={vmm.asked}", *rest])
    sys.stdout.flush()
    return int(options.handler(options))
