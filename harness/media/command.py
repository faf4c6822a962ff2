"""`bringup media GUEST`: fetches what a guest boots from and says where it is, what it is and whence."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from bringup.guests.definition import DebianPackage, Derived, UserFile
from bringup.guests.loader import Guest
from bringup.harness.arguments import guest_argument
from bringup.harness.media import debian
from bringup.harness.media.initrd import linux_initrd
from bringup.harness.media.store import Medium, Provenance, Store, disk_errors


@contextlib.contextmanager
def progress_bar() -> Iterator[debian.Progress]:
    """A bar for each thing that is fetched, on standard error; off a terminal, one line for each."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %")
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    tasks: dict[str, TaskID] = {}

    def report(what: str, percent: float) -> None:
        if what not in tasks:
            bar.start()  # not before: what is in the store is used in silence
            tasks[what] = bar.add_task(f"fetching {what}", total=100)
            if not console.is_terminal:
                console.print(f"fetching {what}", highlight=False)
        bar.update(tasks[what], completed=percent)

    try:
        yield report
    finally:
        bar.stop()


def fetch_media(guest: Guest, store: Store, refresh: bool = False) -> Mapping[str, Medium]:
    """Everything that a guest boots from, by role. Raises MediaError."""
    wanted = guest.definition.media
    media: dict[str, Medium] = {}
    with progress_bar() as progress:
        for role, medium in wanted.items():
            if isinstance(medium, DebianPackage):
                media[role] = debian.fetch(medium, store, progress, refresh)
            elif isinstance(medium, UserFile):
                with disk_errors(f"{role} of {guest.name}"):
                    content = (guest.folder / medium.file).read_bytes()
                media[role] = store.keep(content, Provenance(medium.file, medium.source, medium.licence))
    for role, medium in wanted.items():
        if isinstance(medium, Derived):
            media[role] = linux_initrd(media["busybox"], media["init"], store)
    return media


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `bringup media`."""
    parser = subparsers.add_parser("media", help="fetch what a guest boots from and say where it is")
    parser.add_argument("guest", type=guest_argument, metavar="GUEST")
    parser.add_argument("--refresh", action="store_true", help="ask the archive for newer versions")
    parser.set_defaults(handler=_media)


def _media(options: argparse.Namespace) -> int:
    for role, medium in fetch_media(options.guest, Store(), options.refresh).items():
        about = medium.provenance
        print(f"{role}: {medium.path}\n  {about.name}, {about.origin}\n  {about.licence}")
    return 0
