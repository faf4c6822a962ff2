"""Where media are from, as options of a command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from bringup.harness.media.debian.fetch import Origin
from bringup.harness.media.progress import Progress
from bringup.harness.media.resolve import Media, offline_asked
from bringup.harness.media.store import Store


def add(parser: argparse.ArgumentParser) -> None:
    """Adds --offline, --mirror and --keyring."""
    group = parser.add_argument_group("where media are from")
    group.add_argument("--offline", action="store_true", help="fetch nothing (BRINGUP_OFFLINE=1)")
    group.add_argument(
        "--mirror",
        action="append",
        metavar="URL",
        help="of Debian, in place of the machine's apt; a second one that ends in -security for its security updates "
        "(BRINGUP_MIRROR)",
    )
    group.add_argument("--keyring", type=Path, metavar="FILE", help="keys of that mirror (BRINGUP_KEYRING)")


def media(
    options: argparse.Namespace, store: Store | None = None, refresh: bool = False, progress: Progress | None = None
) -> Media:
    """The media that these options ask for."""
    default = Origin()
    origin = Origin(tuple(options.mirror or default.mirrors), options.keyring or default.keyring)
    offline = options.offline or offline_asked()
    return Media(store, offline=offline, refresh=refresh, origin=origin, progress=progress)
