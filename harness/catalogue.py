"""`bringup guests [GUEST...]`: the guests that there are, or all that is known of one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.text import Text

from bringup.guests.definition import (
    SYNTHETIC,
    UNTRIED,
    DebianPackage,
    Derived,
    Download,
    Guest,
    Limit,
    Medium,
    Rung,
    Step,
)
from bringup.guests.loader import GuestError, load, names, own, own_folder
from bringup.harness.arguments import guest_argument
from bringup.harness.media.store import Store
from bringup.harness.media.survey import state, survey
from bringup.harness.tables import console, show


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bringup guests`."""
    parser = subparsers.add_parser(
        "guests",
        help="the guests that there are, or one in full; add one; a table of runs",
        epilog="`bringup guests add IMAGE` identifies an image and writes a guest's file; `bringup guests table` "
        "makes a table of runs; `add --help` and `table --help` say more",
    )
    parser.add_argument("--tag", help="only those that have it")
    parser.add_argument("--deaths", action="store_true", help="of a guest, the death patterns that are looked for, too")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="GUEST... | add IMAGE | table [RUN...]")
    parser.set_defaults(handler=lambda options: _guests(options, parser))


def _guests(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if options.words[:1] == ["add"]:
        from bringup.harness.identify.command import add  # with it comes all that boots

        return add(options.words[1:])
    if options.words[:1] == ["table"]:
        from bringup.harness.guest_table import table

        return table(options.words[1:])
    if options.words:
        try:
            guests = [guest_argument(name) for name in options.words]
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument GUEST: {error}")
        output = console()
        for guest in guests:
            for line in describe(guest, options.deaths):
                output.print(line, soft_wrap=True)
        return 0
    chosen = [load(name) for name in names()]
    for name in own():
        try:
            chosen.append(load(name))
        except GuestError as error:
            print(f"bringup: {error}", file=sys.stderr)
    if options.tag is not None:
        chosen = [guest for guest in chosen if options.tag in guest.tags]
    store = Store()
    rows: list[tuple[str, ...]] = []
    for heading, group in grouped(guest for guest in chosen if options.tag is not None or SYNTHETIC not in guest.marks):
        rows += [(heading,), *(_row(guest, store) for guest in group)]
    show(("name", "title", "release", "mode", "tier", "rungs", "media"), rows, right=("tier", "rungs"))
    if len(rows) and (left := sum(SYNTHETIC in guest.marks for guest in chosen)) and options.tag is None:
        print(f"and {left} programs of ours that imitate systems, for tests: bringup guests --tag {SYNTHETIC}")
    return 0


def grouped(guests: Iterable[Guest]) -> Iterator[tuple[str, list[Guest]]]:
    """The user's own guests; those of each family, under its title; those that are untried, and those that are none."""

    def key(guest: Guest) -> tuple[int, str]:
        if SYNTHETIC in guest.marks:
            return 2, "synthetic: programs of ours"
        if UNTRIED in guest.marks:
            return 1, "untried: from documentation, media are yours"
        return (-1, "your own") if guest.folder == own_folder().absolute() else (0, guest.about.title)

    for (_, heading), group in groupby(sorted(guests, key=lambda guest: (key(guest), guest.name)), key):
        yield heading, list(group)


def _row(guest: Guest, store: Store) -> tuple[str, ...]:
    about = guest.definition
    return (
        f"  {guest.name}",
        about.title,
        about.release,
        about.architecture.value,
        str(about.tier),
        str(len(guest.ladder)),
        state(list(survey([guest], store))),
    )


def describe(guest: Guest, deaths: bool = False) -> Iterator[Text]:
    """What is known of a guest, line by line; `deaths`: with its death patterns."""
    about = guest.definition
    family = guest.family or "none"
    yield Text(f"{guest.name}: {about.title}", "bold")
    yield _field("release", f"{about.release}, {about.architecture.value}, tier {about.tier}")
    yield _field("family", family)
    yield _field("tags", " ".join(sorted(guest.tags)) or "none")
    if guest.imitation is not None:
        yield _field("imitates", f"{guest.imitation.imitates}: it is no such system")
    if about.untried is not None:
        yield _field("untried", f"nobody has booted it by this file, which is from {about.untried}")
    yield _field("limit", _limit(about.limit))
    if (host := about.limit.host or about.limit.guest) is not None:
        yield _field("", f"{host:,g} host seconds, times the factor of bringup doctor, on a VMM in host time")
    machine = about.machine
    yield Text("machine", "bold")
    yield _field("memory", f"{machine.memory}, {machine.cpus} vCPU{'s' if machine.cpus > 1 else ''}")
    if machine.cpu:
        yield _field("cpu", machine.cpu)
    if machine.kernel:
        yield _field(machine.boot, f"{machine.kernel}{f', initrd {machine.initrd}' if machine.initrd else ''}")
    for module in machine.modules:
        yield _field("module", module)
    if machine.append:
        yield _field("append", machine.append)
    for drive, index in zip(machine.drives, machine.places(), strict=True):
        yield _field(
            f"{drive.kind.value} {index}", f"{drive.media}{'' if drive.format == 'raw' else f', {drive.format}'}"
        )
    if machine.kernel is None:
        yield _field("starts from", ", ".join(device.value for device in machine.starts_from))
    if machine.nic:
        yield _field("nic", machine.nic)
    for name, role in machine.tftp.items():
        yield _field("tftp", f"{name}: {role}{', which DHCP names' if name == machine.bootfile else ''}")
    yield Text("media", "bold")
    for role, medium in about.media.items():
        yield _field(role, _medium(medium))
    yield Text("consoles", "bold")
    for name, one in about.console.items():
        kind = "screen of a VT100" if one.terminal else "text"
        yield _field(name, f"{one.channel}, {kind}{f', a shell with prompt {one.shell.prompt!r}' if one.shell else ''}")
    yield Text("ladder", "bold")
    for number, rung in enumerate(guest.ladder, 1):
        yield _field(f"{number} {rung.id}", _rung(rung))
    if guest.deaths and not deaths:
        ends = sum(death.ends for death in guest.deaths)
        where = f"bringup guests --deaths {guest.asked} shows them"
        yield Text("ends at", "bold")
        yield _field("deaths", f"{ends} patterns, and {len(guest.deaths) - ends} that are noted: {where}")
    elif guest.deaths:
        yield Text("ends at", "bold")
        for death in guest.deaths:
            yield _field("death" if death.ends else "note", f"{death.title}  /{death.pattern}/")
    for quirk in about.quirk:
        yield _field("quirk", f"{quirk.what}: {quirk.why} ({quirk.source})")
    for failure in about.expected_failure:
        words = f"{failure.rung} on {failure.vmm} until {failure.until}: {failure.reason} ({failure.reference})"
        yield _field("expected failure", words)


def _field(name: str, value: str) -> Text:
    return Text(f"  {name:<16} {value}")


def _limit(limit: Limit) -> str:
    values = (
        (limit.instructions, "instructions"),
        (limit.guest, "guest seconds"),
        (limit.host, "host seconds"),
    )
    return ", ".join(f"{value:,g} {unit}" for value, unit in values if value is not None) or "none"


def _medium(medium: Medium) -> str:
    match medium:
        case DebianPackage():
            what = "" if medium.file is None else f"{medium.file} of "
            return f"{what}Debian package {medium.package} ({medium.release}, {medium.architecture})"
        case Download():
            return f"{medium.url}, {medium.size:,} bytes, sha256 {medium.sha256} ({medium.source})"
        case Derived():
            return f"recipe {medium.recipe} of {', '.join(medium.inputs) or 'nothing'}"
        case _:
            return f"file {medium.file} ({medium.source})"


def _rung(rung: Rung) -> str:
    words = [_step(step) for step in rung.steps]
    if rung.text is not None:
        words.append(f"sees {rung.text!r}")
    if rung.pattern is not None:
        words.append(f"sees /{rung.pattern}/")
    if rung.ending:
        words.append("powers off")
    where = f" on {rung.console}" if rung.console else ""
    return ", ".join(words) + where + (f" within {_limit(rung.limit)}" if rung.limit else "")


def _step(step: Step) -> str:
    if step.wait is not None:
        return f"waits for {step.wait!r}"
    if step.press is not None:
        return f"presses {step.press}"
    return f"types {step.type!r}" if step.type is not None else f"sends {step.send!r}"
