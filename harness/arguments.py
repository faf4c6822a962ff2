"""What the subcommands of `bringup` have in common on their command lines."""

import argparse
from importlib.metadata import version
from typing import NoReturn

from bringup.guests.definition import Guest
from bringup.guests.loader import GuestError, load


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
