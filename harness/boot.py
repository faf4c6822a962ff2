"""`bringup boot GUEST`: boots a guest on a VMM, climbs its ladder, and shows all it says.

Status, of several VMMs the highest: 0 when the wanted rung was reached; 1 when it was not; 2 for wrong usage; 3 when
the attempt could not be made (media, VMM or host were at fault); 128 + n when signal n ended it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from bringup.guests.definition import Guest, Rung
from bringup.harness.arguments import (
    cpus_argument,
    guest_argument,
    media_argument,
    rtc_argument,
    seed_argument,
    size_argument,
    vmm_argument,
)
from bringup.harness.attached import attach, attach_line
from bringup.harness.attempt import Attempt, describe
from bringup.harness.climb import Fell, rungs_until
from bringup.harness.console.strip import ScreenView
from bringup.harness.display import Display, shown
from bringup.harness.errors import HarnessError
from bringup.harness.machine.settings import SCREEN
from bringup.harness.media import options as media_options
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.prepare import Overrides
from bringup.harness.session import OUTPUT, Session, create_run

NOT_REACHED, USAGE, NOT_TRIED = 1, 2, 3


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bringup boot`."""
    parser = subparsers.add_parser("boot", help="boot a guest, show it, see how far it gets", allow_abbrev=False)
    parser.add_argument("guest", type=guest_argument, metavar="GUEST", help="a name (bringup guests) or a .toml file")
    parser.add_argument(
        "--vmm", type=vmm_argument, action="append", metavar="VMM",
        help="a name (bringup vmm list) or a .toml file; again for more, one after the other (bringup)",
    )  # fmt: skip
    parser.add_argument("--until", metavar="RUNG", help="stop at this rung")
    machine = parser.add_argument_group("in place of the guest's own")
    machine.add_argument("--kernel", type=Path, metavar="FILE")
    machine.add_argument("--initrd", type=Path, metavar="FILE")
    machine.add_argument("--media", type=media_argument, action="append", default=[], metavar="ROLE=FILE")
    machine.add_argument("--append", metavar="TEXT", help="added to the kernel's command line")
    machine.add_argument("--cpus", type=cpus_argument, metavar="N")
    machine.add_argument("--memory", type=size_argument, metavar="SIZE", help="such as 512M")
    machine.add_argument("--cpu", metavar="MODEL")
    machine.add_argument("--accel", help="of bringup run: vtx or bare")
    machine.add_argument("--seed", type=seed_argument, metavar="N", help="of the machine's random numbers")
    machine.add_argument("--rtc", type=rtc_argument, metavar="TIME", help="the date at power-on: 2027-01-01T00:00:00")
    media_options.add(parser)
    parser.add_argument("--show", action="store_true", help="draw the machine's screen on the terminal, in colour")
    parser.add_argument(
        "--attach", action="store_true", help="give me its console, in host time; Ctrl-] leaves a screen"
    )
    parser.add_argument("--transcript", type=Path, metavar="FILE", help="write what the guest says there, too")
    parser.add_argument("--output-dir", type=Path, default=OUTPUT, metavar="FOLDER", help=f"of records ({OUTPUT}/)")
    parser.add_argument(
        "--keep-on-failure", action="store_true", help="hold the machine when a rung is missed, for bringup attach"
    )
    parser.set_defaults(handler=lambda options: _boot(options, parser))


def _boot(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    guest: Guest = options.guest
    try:
        rungs = rungs_until(guest, options.until)
    except ValueError as error:
        parser.error(f"--until: {error}")
    overrides = _overrides(options, parser)
    options.vmm = options.vmm or [vmm_argument("bringup")]
    if options.attach and len(options.vmm) > 1:
        parser.error("--attach: this terminal is for one VMM's guest")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwind: nothing may be left behind
    if options.attach and not (os.isatty(0) and os.isatty(1)):
        parser.error("--attach: standard input and output are no terminal, which is what a person has")
    if options.attach and os.environ.get("TERM", "dumb") == "dumb" and _has_screen(options.guest):
        parser.error("--attach: TERM is dumb: a terminal that cannot place text shows no screen")
    with ExitStack() as stack:
        files, folder = _open(options, stack, parser)
        return _run(options, rungs, overrides, files, folder)


def _run(
    options: argparse.Namespace, rungs: Sequence[Rung], overrides: Overrides, files: list[TextIO], folder: Path
) -> int:
    session = Session(
        folder,
        command=("bringup", *sys.argv[1:]),
        seed=options.seed,
        keep_on_failure=(lambda line: print(f"kept: {line}", file=sys.stderr, flush=True))
        if options.keep_on_failure
        else None,
    )
    status, interrupted = NOT_TRIED, False
    try:
        attempts = []
        status = 0
        for vmm in options.vmm:
            media, test = media_options.media(options), "attach" if options.attach else "ladder"
            attempts.append(Attempt(session, options.guest, vmm, media, test=test, overrides=overrides))
            try:
                if options.attach:
                    status = _attach(attempts[-1])
                else:
                    status = max(status, _climb(attempts[-1], rungs, options.until, files, options.show))
            finally:
                _tell(attempts[-1])
        if len(attempts) > 1:
            print("\nin all:", *(describe(attempt).partition("\n")[0] for attempt in attempts), sep="\n")
    except KeyboardInterrupt:
        status, interrupted = 128 + signal.SIGINT, True
        raise
    except SystemExit:  # SIGTERM's, from the handler above
        status, interrupted = 128 + signal.SIGTERM, True
        raise
    finally:
        session.finish(status, interrupted)
    return status


def _tell(attempt: Attempt) -> None:
    """The last lines: how far it got, or on standard error why there was never a machine; where more is."""
    if attempt.machine is not None:
        print(describe(attempt))
    else:
        verdict = attempt.verdict
        whose = "" if verdict.blame is Blame.NOBODY else f" ({verdict.blame.value})"
        why = f"{verdict.outcome.value}{whose}: {verdict.detail or verdict.title}"
        print(f"bringup: {attempt.guest.name}: {why}", file=sys.stderr)
    if attempt.bundle:
        print(f"what is known about it: {attempt.bundle}/")


def _climb(attempt: Attempt, rungs: Sequence[Rung], until: str | None, files: Sequence[TextIO], show: bool) -> int:
    """Makes the attempt; the exit status."""
    try:
        with attempt:
            attempt.boot()
            title = f"{attempt.guest.name} on {attempt.vmm.name}"
            display = Display(title, rungs, attempt.moment, attempt.began, *files)
            consoles = shown(attempt.consoles)
            for channel, console in consoles.items():
                console.logfile_read = display.window(channel, console.screen)
            if show and SCREEN in consoles:
                display.show(SCREEN, ScreenView(attempt.running.screens))
            try:
                with display:
                    attempt.climb(until, display.reached)
            finally:
                for console in consoles.values():
                    console.logfile_read = None  # what a machine that is held says is for whoever attaches
    except Fell:
        pass  # the verdict says it
    except HarnessError:
        pass
    return _status(attempt)


def _status(attempt: Attempt) -> int:
    """The exit status that says how an attempt ended."""
    if attempt.verdict.outcome is Outcome.PASSED:
        return 0
    if attempt.verdict.is_wrong_usage:
        return USAGE
    return NOT_REACHED if attempt.verdict.blame is Blame.GUEST else NOT_TRIED


def _overrides(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Overrides:
    media = dict(options.media)
    wanted = options.guest.definition.machine
    for option, role in (("kernel", wanted.kernel), ("initrd", wanted.initrd)):
        given = getattr(options, option)
        if given is not None:
            if role is None:
                parser.error(f"--{option}: {options.guest.name} is not started from one")
            media[role] = given
    unknown = [role for role in media if role not in options.guest.definition.media]
    if unknown:
        roles = ", ".join(options.guest.definition.media)
        parser.error(f"--media {unknown[0]}: {options.guest.name} has no such medium; it has {roles}")
    return Overrides(
        cpus=options.cpus,
        memory=options.memory,
        cpu=options.cpu,
        accel=options.accel,
        append=options.append,
        media=media,
        rtc=options.rtc,
    )


def _has_screen(guest: Guest) -> bool:
    return any(console.channel == SCREEN for console in guest.definition.console.values())


def _attach(attempt: Attempt) -> int:
    """Gives the guest to whoever sits at this terminal; the exit status."""
    try:
        with attempt:
            machine = attempt.boot()
            for console in attempt.consoles.values():
                console.answers = False
            print("Ctrl-] ends it", file=sys.stderr)
            try:
                if SCREEN in machine.settings.channels:
                    attach(machine, watch=attempt.watch)
                else:
                    first = next(iter(attempt.consoles.values()))
                    attach_line(machine, first.channel, sys.stdin.fileno(), sys.stdout.fileno(), attempt.watch)
            finally:
                print()
            attempt.skipped("a person had it, and nothing was awaited")
    except HarnessError:
        pass  # the verdict says it
    return 0 if attempt.verdict.outcome is Outcome.SKIPPED and attempt.machine is not None else _status(attempt)


def _open(options: argparse.Namespace, stack: ExitStack, parser: argparse.ArgumentParser) -> tuple[list[TextIO], Path]:
    """The transcript, if one is asked for, and the folder of a new run."""
    try:
        files = [stack.enter_context(options.transcript.open("w"))] if options.transcript else []
    except OSError as error:
        parser.error(f"--transcript {options.transcript}: {error.strerror}")
    try:
        return files, create_run(options.output_dir)
    except HarnessError as error:
        parser.error(f"--output-dir: {error}")
