"""`bringup media list|fetch|prune`: what guests boot from, where it is, and how much room it takes."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from bringup.guests.definition import SYNTHETIC, Guest
from bringup.guests.loader import load, names
from bringup.harness.arguments import guest_argument, media_argument
from bringup.harness.media import options as media_options
from bringup.harness.media.prune import prune
from bringup.harness.media.store import MediaError, MediaMissing, Store
from bringup.harness.media.survey import There, survey, total
from bringup.harness.tables import show, size_text

ANYBODY = 2
"""Guests up to this tier have media that anybody can fetch."""
MISSING = 3
"""Status of a fetch that could not have something."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bringup media`."""
    parser = subparsers.add_parser("media", help="what guests boot from: list, fetch, prune")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="what is there and what is not")
    listing.add_argument("guests", type=guest_argument, nargs="*", metavar="GUEST", help="all that ship, without any")
    listing.add_argument("--check", action="store_true", help="compare each file with its hash")
    listing.set_defaults(handler=_list)

    fetching = commands.add_parser("fetch", help="fetch and make what guests boot from")
    fetching.add_argument("guests", type=guest_argument, nargs="*", metavar="GUEST")
    fetching.add_argument("--all", action="store_true", help="of every guest whose media anybody can fetch")
    fetching.add_argument("--refresh", action="store_true", help="ask archives for newer versions")
    fetching.add_argument("--media", type=media_argument, action="append", default=[], metavar="ROLE=FILE")
    media_options.add(fetching)
    fetching.set_defaults(handler=lambda options: _fetch(options, fetching))

    pruning = commands.add_parser("prune", help="remove what nobody needs")
    pruning.add_argument("--dry-run", action="store_true", help="only say what would go")
    pruning.add_argument("--older-than", type=_days, metavar="DAYS", help="also what was not used for so long")
    pruning.set_defaults(handler=_prune)


def _is_for_anybody(guest: Guest) -> bool:
    """Can its media be fetched by whoever wants to?"""
    return guest.definition.tier <= ANYBODY and SYNTHETIC not in guest.marks


def _days(text: str) -> float:
    """Days, from 0."""
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return days


def _list(options: argparse.Namespace) -> int:
    guests: Sequence[Guest] = options.guests or [guest for guest in map(load, names()) if SYNTHETIC not in guest.marks]
    findings = list(survey(guests, Store(), options.check))
    show(
        ("guest", "role", "state", "size", "licence", "origin"),
        (
            (found.guest, found.role, found.there.value, size_text(found.size), found.licence, found.origin)
            for found in findings
        ),
        right=("size",),
    )
    there = sum(found.there is There.YES for found in findings)
    print(f"{there} of {len(findings)} there, {size_text(total(findings))} in {Store().root}")
    wanting = {found.guest for found in findings if found.there in (There.NO, There.PARTLY)}
    asked = [guest.asked for guest in guests if guest.name in wanting]
    if asked and options.guests:
        print(f"to fetch what is missing: bringup media fetch {shlex.join(asked)}")
    elif any(guest.name in wanting and _is_for_anybody(guest) for guest in guests):
        print("to fetch what is missing and can be: bringup media fetch --all")
    return 1 if any(found.there is There.WRONG for found in findings) else 0


def _fetch(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Goes through all guests whatever happens to one; a wrong hash is worse than something missing."""
    if bool(options.guests) == options.all:
        parser.error("name guests, or --all")
    guests: Sequence[Guest] = options.guests or [guest for guest in map(load, names()) if _is_for_anybody(guest)]
    media = media_options.media(options, refresh=options.refresh)
    status, rows = 0, []
    for guest in guests:
        try:
            for role, medium in media.resolve(guest, dict(options.media)).items():
                size = size_text(medium.path.stat().st_size)
                rows.append((guest.name, role, size, medium.provenance.origin, str(medium.path)))
        except MediaError as error:
            print(f"bringup: {guest.name}: {error}", file=sys.stderr)
            status = max(status, MISSING) if isinstance(error, MediaMissing) else 1 if status != 1 else status
    if rows:
        show(("guest", "role", "size", "origin", "file"), rows, right=("size",))
    return status


def _prune(options: argparse.Namespace) -> int:
    store = Store()
    pruned = prune(store, options.older_than, options.dry_run)
    if pruned.items:
        show(
            ("file", "size", "why"),
            ((path, size_text(size), why) for path, size, why in pruned.items),
            right=("size",),
        )
    for path in pruned.in_use:
        print(f"{path}: is in use and stays")
    verb = "would free" if options.dry_run else "freed"
    print(f"{verb} {size_text(pruned.size)} in {store.root}")
    return 0
