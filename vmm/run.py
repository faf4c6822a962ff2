"""`bringup run`: one machine, one process (docs/run.md)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from . import cpumodel, spec
from .boot import BootError, Image, boot_order, flat, fw_cfg, map_file, protocol
from .inspect import exits
from .loop import Ending, Poller, Runner, Status, Watch
from .machine import UARTS, Machine, MachineError, Registers
from .spec import FIRMWARE_MAXIMUM, KIB, Accel, Clock, Drive, MachineSpec, SpecError
from .storage import Kind, StorageError
from .terminal import Pty, RawMode, Stdio, TerminalError, UnixLine, print_error

T = TypeVar("T")

_SIGPIPE = 128 + 13


class Endpoint(NamedTuple):
    """Where a serial line goes: `stdio`, `pty`, `none` or `socket`, that one with a path or a descriptor."""

    kind: str
    where: Path | int | None = None


def parse_endpoint(text: str) -> Endpoint:
    """`stdio`, `pty`, `none`, `unix:PATH` or `fd:N`."""
    if text in ("stdio", "pty", "none"):
        return Endpoint(text)
    return Endpoint("socket", parse_socket(text, "not stdio, pty, none, unix:PATH or fd:N"))


def parse_socket(text: str, complaint: str = "not unix:PATH or fd:N") -> Path | int:
    """The path of `unix:PATH`, the number of `fd:N`."""
    scheme, _, where = text.partition(":")
    if scheme == "fd" and where.isdecimal() and len(where) < 10 and int(where) > 2:
        return int(where)
    if scheme != "unix" or not where:
        raise SpecError(complaint)
    return Path(where)


def _option(parse: Callable[[str], T]) -> Callable[[str], T]:
    """An argparse type whose errors name the value."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(f"'{text}': {error}") from None

    return convert


def _medium(kind: Kind) -> Callable[[str], Drive]:
    """An argparse type: a file in the first free drive of the kind."""
    return lambda text: Drive(kind, Path(text), spec.ANYWHERE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bringup run`."""
    boot = parser.add_argument_group("what to boot")
    boot.add_argument("--kernel", type=Path, metavar="FILE", help="a Linux bzImage, or a multiboot image")
    boot.add_argument("--bios", type=Path, metavar="FILE", help="firmware instead, in ROM at the reset vector: SeaBIOS")
    boot.add_argument("--vgabios", type=Path, metavar="FILE", help="the video card's ROM, for --bios")
    boot.add_argument(
        "--boot", type=_option(boot_order.parse), default="order=cad", metavar="order=LETTERS",
        help="what the firmware tries: a floppy, c disk, d CD-ROM, n network (cad)",
    )  # fmt: skip
    boot.add_argument(
        "--bios-serial",
        action="store_true",
        help="what the BIOS draws for the guest comes on COM1 too, and keys from it",
    )
    boot.add_argument(
        "--initrd", metavar="FILE",
        help="Linux: its initial RAM disk; multiboot: modules, as 'FILE ARGUMENTS,FILE ARGUMENTS,...'",
    )  # fmt: skip
    boot.add_argument("--append", default="", metavar="TEXT", help="its command line")
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--memory", type=_option(spec.parse_size), default=spec.DEFAULT_MEMORY, metavar="SIZE", help="RAM (512M)"
    )
    machine.add_argument(
        "--cpu", default=spec.DEFAULT_CPU, metavar="MODEL", help=f"CPU model: {', '.join(cpumodel.names())}"
    )
    machine.add_argument("--cpus", type=_option(spec.parse_cpus), default=1, metavar="N", help="vCPUs (1)")
    machine.add_argument(
        "--slice", type=_option(spec.parse_slice), default=spec.DEFAULT_SLICE, metavar="N",
        help=f"of several vCPUs, each runs so many instructions before the next one's turn ({spec.DEFAULT_SLICE})",
    )  # fmt: skip
    machine.add_argument(
        "--accel", choices=["vtx", "bare"], default="vtx",
        help="vtx: the hypervisor on the software processor; bare: the processor alone",
    )  # fmt: skip
    machine.add_argument(
        "--clock", choices=["virtual", "host"],
        help="what guest time follows: retired instructions, or the host (default when stdin is a terminal)",
    )  # fmt: skip
    machine.add_argument(
        "--seed", type=_option(spec.parse_seed), default=spec.DEFAULT_SEED, metavar="N", help="of random numbers"
    )
    machine.add_argument(
        "--rtc", type=_option(spec.parse_rtc), default=spec.DEFAULT_RTC, metavar="TIME",
        help="the date at power-on: 2027-01-01T00:00:00 (the default), @SECONDS or now",
    )  # fmt: skip
    machine.add_argument(
        "--drive", type=_option(spec.parse_drive), action="append", default=[], dest="drives",
        metavar="file=FILE[,KEY=VALUE...]",
        help="a disk, a CD-ROM (media=cdrom) or a floppy (if=floppy); also format=raw|qcow2, index=N, readonly=on",
    )  # fmt: skip
    machine.add_argument(
        "--cdrom", type=_medium(Kind.CDROM), action="append", dest="drives", metavar="FILE", help="a CD"
    )
    machine.add_argument(
        "--floppy", type=_medium(Kind.FLOPPY), action="append", dest="drives", metavar="FILE", help="in A, once more: B"
    )
    machine.add_argument(
        "--write", action="store_true", help="what the guest writes goes into the drives' files, and is not forgotten"
    )
    machine.add_argument("--debug-exit", action="store_true", help="isa-debug-exit at port F4h, and pc-testdev")
    machine.add_argument(
        "--nic", type=_option(spec.parse_nic), metavar="user|none",
        help="a network card (NE2000) on a network inside the process; user,tftp=FOLDER,bootfile=NAME,mac=ADDRESS",
    )  # fmt: skip
    machine.add_argument("--no-reboot", action="store_true", help="a reset ends the machine (status 10)")
    control = parser.add_argument_group("serial lines and control")
    control.add_argument(
        "--serial", type=_option(parse_endpoint), action="append", metavar="stdio|pty|none|unix:PATH|fd:N",
        help="COM1 (default stdio); once more for COM2 to COM4",
    )  # fmt: skip
    control.add_argument("--qmp", type=_option(parse_socket), metavar="unix:PATH|fd:N", help="control socket, QMP")
    control.add_argument("--turns", type=_option(parse_socket), metavar="unix:PATH|fd:N", help="the driver's socket")
    control.add_argument(
        "--budget-instructions", type=_option(spec.parse_count), metavar="N", help="end after so many (status 13)"
    )
    control.add_argument("--verbose", action="store_true", help="always end with a summary; tracebacks of errors")


def register(subparsers: Any) -> None:
    """Adds `run` to the `bringup` command."""
    parser = subparsers.add_parser("run", help="run one machine", description=__doc__, allow_abbrev=False)
    add_arguments(parser)
    parser.set_defaults(handler=handle)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print_error(message)
        raise SystemExit(Status.USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m bringup.vmm.run`: the same without the `bringup` command around it."""
    parser = _Parser(prog="bringup run", description=__doc__, allow_abbrev=False)
    add_arguments(parser)
    return handle(parser.parse_args(argv))


def handle(args: argparse.Namespace) -> int:
    """Runs the machine that the options describe; the exit status."""
    try:
        return _run(args)
    except (SpecError, BootError, MachineError, StorageError, TerminalError) as error:
        print_error(str(error))
        return Status.USAGE
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if args.verbose:
            raise
        print_error(f"internal error: {type(error).__name__}: {error} (--verbose shows where)")
        return Status.INTERNAL


def _spec(args: argparse.Namespace) -> MachineSpec:
    clock = args.clock or ("host" if sys.stdin and sys.stdin.isatty() and not args.turns else "virtual")
    if args.turns and clock == "host":
        raise SpecError("--clock host: with --turns guest time is virtual")
    if args.turns and args.serial:
        raise SpecError("--serial: with --turns the driver has all serial lines")
    return MachineSpec(
        memory=args.memory,
        accel=Accel[args.accel.upper()],
        clock=Clock[clock.upper()],
        cpu=args.cpu,
        cpus=args.cpus,
        slice=args.slice,
        seed=args.seed,
        rtc=args.rtc,
        debug_exit=args.debug_exit,
        firmware=_rom(args.bios, "firmware", 64 * KIB) if args.bios else b"",
        items=tuple(fw_cfg.items(_firmware(args))) if args.bios else (),
        drives=spec.place_drives(args.drives),
        nic=args.nic,
        write=args.write,
    )


def _endpoints(args: argparse.Namespace) -> list[Endpoint]:
    if args.turns:
        return []
    endpoints: list[Endpoint] = args.serial or [Endpoint("stdio")]
    if Endpoint("stdio") in endpoints and (sys.stdin is None or sys.stdout is None):
        raise SpecError("--serial stdio: standard input or output is closed")
    if len(endpoints) > UARTS:
        raise SpecError(f"--serial: given {len(endpoints)} times, there are {UARTS} serial ports")
    if endpoints.count(Endpoint("stdio")) > 1:
        raise SpecError("--serial stdio: given twice")
    return endpoints


def _firmware(args: argparse.Namespace) -> fw_cfg.Firmware:
    roms = [(fw_cfg.VGA_ROM, _rom(args.vgabios, "VGA BIOS"))] if args.vgabios else []
    order = boot_order.paths(args.boot, spec.place_drives(args.drives))
    return fw_cfg.Firmware(args.memory, args.cpus, roms, order, cpu=args.cpu, serial=args.bios_serial)


def _rom(path: Path, what: str, unit: int = 1) -> bytes:
    data = map_file(path, what)
    if len(data) % unit or len(data) > FIRMWARE_MAXIMUM:
        multiple = f"a multiple of {unit // KIB}K, " if unit > 1 else ""
        raise SpecError(f"the {what} {path} has {len(data)} bytes: it must be {multiple}at most 16M")
    return bytes(data)


def _image(args: argparse.Namespace, machine_spec: MachineSpec) -> Image | None:
    """What lies in memory at power-on; None: firmware boots from ROM."""
    if args.bios:
        if args.kernel:
            raise SpecError("--bios: with --kernel nothing would start it")
        return None
    if not args.kernel:
        raise SpecError("--kernel or --bios: one of them is needed")
    image = protocol.recognise(args.kernel, args.initrd, args.append).image(machine_spec.memory, machine_spec.cpus)
    if mode := _lacking_mode(cpumodel.load(args.cpu), image.registers):
        raise SpecError(f"the kernel {args.kernel} starts in {mode}, which CPU model '{args.cpu}' lacks")
    return image


def _lacking_mode(model: cpumodel.CpuModel, registers: Registers) -> str | None:
    """The mode that a kernel starts in and the model lacks; None: it can start."""
    if registers.efer & flat.EFER_LMA and not model.has("LM"):
        return "64-bit mode"
    if registers.cr0 & flat.CR0_PE and model.generation < 386:
        return "32-bit protected mode"
    return None


def _occupy_standard_streams() -> None:
    """Closed standard streams become /dev/null: no file of ours may take their numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _run(args: argparse.Namespace) -> int:
    _occupy_standard_streams()
    machine_spec, endpoints = _spec(args), _endpoints(args)
    cpumodel.load(args.cpu)
    image = _image(args, machine_spec)
    with ExitStack() as stack:
        if Endpoint("stdio") in endpoints and os.isatty(0):
            stack.enter_context(RawMode())
        machine = stack.enter_context(Machine(machine_spec, complain=print_error))
        runner = Runner(
            machine,
            lambda: machine.load(image.checked()) if image else None,
            Poller(),
            budget=args.budget_instructions,
            no_reboot=args.no_reboot,
        )
        stack.enter_context(Watch(runner))
        for uart, endpoint in enumerate(endpoints):
            runner.lines.append(stack.enter_context(closing(_line(endpoint, uart, runner))))
        driver = None
        if args.qmp:
            from .control import ControlServer

            stack.enter_context(closing(ControlServer(args.qmp, runner)))
        if args.turns:
            from .turns import TurnServer

            driver = stack.enter_context(closing(TurnServer(args.turns, runner)))
        ending = runner.run(driver)
        lines = [_summary(machine, ending)]
        if args.verbose:
            lines += map(exits.line, machine.last_exits(16))
    if args.verbose or not ending.quiet:
        for line in lines:
            print_error(line)
    return ending.status


def _line(endpoint: Endpoint, uart: int, runner: Runner) -> Any:
    def receive(data: bytes) -> int:
        return runner.machine.send(uart, data)

    match endpoint:
        case Endpoint("stdio"):
            return Stdio(
                runner.poller,
                receive,
                quit_=lambda: runner.end(Ending(Status.POWER_OFF, "ended by Ctrl-A X", quiet=True)),
                broken=lambda why: runner.end(Ending(_SIGPIPE, why)),
            )
        case Endpoint("pty"):
            pty = Pty(runner.poller, receive)
            print_error(f"COM{uart + 1} is {pty.path}")
            return pty
        case Endpoint("socket", Path() | int() as where):
            return UnixLine(runner.poller, receive, where)
        case _:
            return Unconnected()


class Unconnected:
    """A serial port that nothing is wired to."""

    congested = False
    waiting = False
    at_end = True

    def send(self, data: bytes) -> None:
        """Lost."""

    def pump(self) -> bool:
        """Nothing waits."""
        return False

    def close(self) -> None:
        """Nothing is open."""


def _summary(machine: Machine, ending: Ending) -> str:
    seconds, nanoseconds = divmod(machine.time, 10**9)
    rip = machine.registers().rip
    return (
        f"{ending.kind} after {machine.count} instructions, {seconds}.{nanoseconds:09} guest seconds, at RIP {rip:#x}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
