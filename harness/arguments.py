"""What the subcommands of `bringup` have in common on their command lines."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from bringup.guests.definition import Guest
from bringup.guests.loader import GuestError, load
from bringup.harness.vmms.loader import LoadedVmm, VmmError
from bringup.harness.vmms.loader import load as load_vmm
from bringup.vmm import spec


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


class ShowVersion(argparse.Action):
    """Looks the version up only when asked: what that costs would delay the start of every machine."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Ends the program with status 0."""
        print(f"bringup {version('bringup')}")
        parser.exit()


def guest_argument(name: str) -> Guest:
    """The guest of this name, as a type of argparse."""
    try:
        return load(name)
    except GuestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def vmm_argument(name: str) -> LoadedVmm:
    """The VMM of this name or file."""
    try:
        return load_vmm(name)
    except VmmError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def media_argument(text: str) -> tuple[str, Path]:
    """ROLE=FILE."""
    role, equals, file = text.partition("=")
    if not equals or not role or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROLE=FILE")
    return role, Path(file)


def cpus_argument(text: str) -> int:
    """A number of vCPUs; the VMM says how many are too many."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of vCPUs, of which there is at least one")
    return int(text)


def seed_argument(text: str) -> int:
    """A seed of random numbers, of 64 bits."""
    with _spec_errors(text):
        return spec.parse_seed(text)


def rtc_argument(text: str) -> str:
    """A date at power-on in UTC, `2027-01-01T00:00:00`, which every VMM takes."""
    with _spec_errors(text):
        return f"{datetime.fromtimestamp(spec.parse_rtc(text), UTC):%Y-%m-%dT%H:%M:%S}"


@contextmanager
def _spec_errors(text: str) -> Iterator[None]:
    try:
        yield
    except spec.SpecError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def size_argument(text: str) -> int:
    """Bytes, of a size such as 512M or 2G."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([MG])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512M or 2G")
    return int(match[1]) << (20 if match[2] == "M" else 30)
