"""What is left of an attempt that went wrong: a folder that answers "how far, and why".

It is written before the machine is torn down, so that the machine can still be asked; it is bounded in time and size.

    verdict.txt               outcome, blame, rungs reached, how the machine ended
    console-<name>.raw        every byte, as the guest sent it (the middle of a long one is left out)
    console-<name>.txt        the same as plain text; of a console that draws, its last screen
    screens.txt, screen.png   what the machine's screen showed over time; its last picture
    transcript.txt            all channels, a line at a time, with guest times
    inspect-<topic>.txt       what the VMM told over its control socket: registers, last exits
    vmm.log                   what the VMM itself printed
    guest.toml, vmm.toml      the definitions that were used
    command.txt, repeat.txt   what started the machine; the line that does it again
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bringup.guests.definition import Guest
from bringup.harness.console.console import Console
from bringup.harness.console.log import Log
from bringup.harness.limits import SECOND, Moment
from bringup.harness.machine.machine import Machine
from bringup.harness.transcript import PlainText

INSPECTION = 5.0
"""Host seconds that the VMM has to answer in all."""


def write(
    folder: Path,
    verdict: str,
    guest: Guest | None,
    machine: Machine | None,
    consoles: Mapping[str, Console],
    repeat: str,
) -> list[str]:
    """Writes the bundle; without `guest` of a program that is none. Returns what could not be written, a line each: one
    part's failure does not lose the rest. OSError: the folder cannot be made."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], str | bytes]] = {
        "verdict.txt": lambda: verdict,
        "repeat.txt": lambda: repeat + "\n",
    }
    if guest is not None:
        parts["guest.toml"] = lambda: guest.text
    for name, console in consoles.items():
        parts[f"console-{name}.raw"] = console.raw.bytes
        parts[f"console-{name}.txt"] = lambda console=console: rendered(console)  # type: ignore[misc]
    if machine is not None:
        parts["transcript.txt"] = lambda: transcript(machine.logs, machine.began)
        parts["vmm.log"] = machine.said
        parts["vmm.toml"] = lambda: machine.vmm.text
        parts["command.txt"] = lambda: shlex.join(machine.command) + "\n"
    problems: list[str] = []
    for name, content in parts.items():
        _part(folder / name, content, problems)
    if machine is not None:
        for topic, text in machine.inspect(INSPECTION).items():
            _part(folder / f"inspect-{topic}.txt", lambda text=text: text, problems)  # type: ignore[misc]
    if machine is not None and machine.screens.size:
        problems += write_screens(folder, machine)
    return problems


def write_screens(folder: Path, machine: Machine) -> list[str]:
    """Writes what the machine's screen showed; returns what could not be written, a line each. OSError: the folder
    cannot be made."""
    folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    _part(folder / "screens.txt", lambda: machine.screens.text(machine.began), problems)
    machine.screendump(folder / "screen.png", INSPECTION)
    return problems


def rendered(console: Console) -> str:
    """A console as text: what it said, or what is on its screen."""
    return console.text if console.screen is not None else PlainText().feed(console.raw.bytes())


def transcript(logs: Mapping[str, Log], began: float) -> str:
    """What all channels said, a line at a time: guest seconds (host seconds since the machine began to start, where the
    VMM has no other), instructions where it counts, channel, text."""
    pieces = (line for channel, log in logs.items() for line in _lines(channel, log, began))
    lines = sorted(pieces, key=lambda line: line[0])
    return "".join(f"{text}\n" for _, text in lines)


def _lines(channel: str, log: Log, since: float) -> Iterator[tuple[tuple[float, float], str]]:
    plain, line, began = PlainText(), "", (0.0, 0.0)
    for piece in log.pieces():
        if piece.moment is None:
            yield began, f"[{channel}] ({piece.size} bytes are left out)"
            continue
        first, *rest = plain.feed(piece.data).split("\n")
        if not line:
            began, where = _order(piece.moment), _where(piece.moment, since)
        line += first
        for text in rest:
            yield began, f"{where} [{channel}] {line}"
            line, began, where = text, _order(piece.moment), _where(piece.moment, since)
    if line:
        yield began, f"{where} [{channel}] {line}"


def _order(moment: Moment) -> tuple[float, float]:
    return (moment.guest_ns or 0, moment.host)


def _where(moment: Moment, since: float) -> str:
    seconds = moment.host - since if moment.guest_ns is None else moment.guest_ns / SECOND
    return f"{seconds:14.6f}" + ("" if moment.instructions is None else f" {moment.instructions:>14}")


def _part(path: Path, content: Callable[[], str | bytes], problems: list[str]) -> None:
    try:
        data = content()
        path.write_bytes(data if isinstance(data, bytes) else data.encode(errors="replace"))
    except (OSError, ValueError) as error:
        problems.append(f"{path.name}: {error}")
