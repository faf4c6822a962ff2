"""`bringup media GUEST`: fetches what a guest boots from and says where it is, what it is and whence."""

import argparse

from bringup.harness.arguments import guest_argument
from bringup.harness.media.resolve import Media


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `bringup media`."""
    parser = subparsers.add_parser("media", help="fetch what a guest boots from and say where it is")
    parser.add_argument("guest", type=guest_argument, metavar="GUEST")
    parser.add_argument("--refresh", action="store_true", help="ask the archive for newer versions")
    parser.set_defaults(handler=_media)


def _media(options: argparse.Namespace) -> int:
    for role, medium in Media(refresh=options.refresh).resolve(options.guest).items():
        about = medium.provenance
        print(f"{role}: {medium.path}\n  {about.name}, {about.origin}\n  {about.licence}")
    return 0
