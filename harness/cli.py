"""The `bringup` command. Its subcommands are entry points of the group `bringup.commands`.

Each names a function `register(subparsers)` that adds a parser of the entry point's name and sets its default
`handler`: a function of the parsed arguments that returns the exit status.
"""

import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from bringup.harness.arguments import Parser, ShowVersion
from bringup.harness.errors import HarnessError

GROUP = "bringup.commands"
ABOUT = (
    "Boots guest systems on a hypervisor - bringup's own, QEMU, or one that a TOML file describes - and says how far "
    "each gets, and why not further. `bringup COMMAND --help` says more; begin with "
    "`bringup doctor` and `bringup guests`."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status; 2 for an error of usage, 1 with one line for one of ours."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        print(f"bringup: runs on Linux on x86-64, and this is {sys.platform} on {os.uname().machine}", file=sys.stderr)
        return 1
    commands = entry_points(group=GROUP)
    parser = Parser(prog="bringup", description=ABOUT)
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # `bringup run` must start in tens of milliseconds: the modules of other subcommands stay out of the process.
    asked = arguments[0] if arguments and arguments[0] in commands.names else None
    for command in sorted(commands, key=lambda entry: entry.name):
        if asked in (None, command.name):
            command.load()(subparsers)
    options = parser.parse_args(arguments)
    try:
        return int(options.handler(options))
    except HarnessError as error:
        line = "".join(char if char.isprintable() else "?" for char in str(error))  # a file's name may be anything
        print(f"bringup: {line}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
