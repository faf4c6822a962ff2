"""What the subcommands of `bringup` have in common on their command lines."""

import argparse
from typing import NoReturn

from bringup.guests.loader import Guest, GuestError, load


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def guest_argument(name: str) -> Guest:
    """The guest of this name, as a type of argparse."""
    try:
        return load(name)
    except GuestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
