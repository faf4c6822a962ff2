"""Machines: every way in which a VMM misbehaves ends in one clear line, with nothing left behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pexpect
import pytest
from standins import FAKE_VMM, SOON, alive, below, eventually, turns, vmm

from bringup.guests.definition import Limit
from bringup.harness.console.console import LimitSpent, MachineEnded
from bringup.harness.limits import Scale
from bringup.harness.machine import machine as machines
from bringup.harness.machine.ending import MachineError, from_status
from bringup.harness.machine.folder import SocketFolder
from bringup.harness.machine.kept import Exit
from bringup.harness.machine.link import ending_of
from bringup.harness.machine.machine import Machine, start
from bringup.harness.machine.settings import Settings
from bringup.harness.outcome import Blame
from bringup.harness.vmms.definition import Channel, Transport
from bringup.harness.vmms.loader import LoadedVmm


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, descriptor, socket or file of a test outlives its machine."""
    runtime = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    gc.collect()  # what an earlier test has left to the collector is not this one's
    before, descriptors = below(os.getpid()), len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert below(os.getpid()) - before == set()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert [path for path in runtime.rglob("*") if path.name != "bringup"] == []


def begin(vmm: LoadedVmm, **settings: object) -> Machine:
    return start(vmm, Settings(memory=1 << 20, **settings), scale=Scale())  # type: ignore[arg-type]


def test_output_input_and_the_end() -> None:
    with begin(vmm("shell")) as machine:
        console = machine.console("serial0")
        console.expect_exact("$ ", SOON)
        assert console.before == "fake kernel 1.0\n"
        console.sendline("poweroff")
        console.expect(pexpect.EOF, SOON)
        assert machine.ending is not None
        assert (machine.ending.kind, machine.ending.status) == ("exit", 0)
    assert machine.exit is not None
    assert machine.exit.peak > 1 << 20
    assert machine.cpu_seconds() > 0


def test_closing_ends_a_machine_that_lives() -> None:
    machine = begin(vmm("shell"))
    assert alive(machine.pid)
    machine.close()
    machine.close()
    assert not alive(machine.pid)
    assert machine.ending is not None
    assert machine.ending.kind == "killed"


# ---- VMMs that misbehave ----


def test_a_program_that_is_missing() -> None:
    complaint = r"^the VMM cannot be started: no-such-vmm: No such file or directory$"
    with pytest.raises(MachineError, match=complaint) as error:
        begin(vmm("x", command=("no-such-vmm",)))
    assert error.value.blame is Blame.HOST


def test_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    program = tmp_path / "vmm"
    program.write_text("?")
    with pytest.raises(MachineError, match=r"cannot be started: .*vmm: Permission denied$"):
        begin(vmm("x", command=(str(program),)))


def test_one_that_prints_nothing_spends_the_limit() -> None:
    with begin(vmm("silent")) as machine:
        complaint = r"^serial0: 0.2 host seconds are spent while 'login' was awaited; nothing came$"
        with pytest.raises(LimitSpent, match=complaint):
            machine.console("serial0").expect("login", 0.2)
        assert machine.ending is None


def test_one_that_never_speaks_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "CONNECT_SECONDS", 0.5)
    channel = Channel(transport=Transport.TURNS, arguments=("--turns={fd}",))
    with pytest.raises(MachineError, match=r"^fake: the turns socket: no answer in time; it said: nothing$") as error:
        begin(vmm("silent", channel=channel))
    assert error.value.blame is Blame.VMM


def test_one_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "CONNECT_SECONDS", 0.5)
    for transport in (Transport.LISTEN, Transport.CONNECT, Transport.PTY):
        arguments = () if transport is Transport.PTY else ("--path={path}",)
        with pytest.raises(MachineError, match=r"^fake does not .*: it did not in time; it said: nothing$") as error:
            begin(vmm("silent", channel=Channel(transport=transport, arguments=arguments)))
        assert error.value.blame is Blame.VMM


def test_one_that_dies_at_once_speaks_for_itself() -> None:
    for channel in (
        Channel(transport=Transport.TURNS, arguments=("--turns={fd}",)),
        Channel(transport=Transport.TURNS, arguments=("--turns={path}",)),
        Channel(transport=Transport.LISTEN, arguments=("--path={path}",)),
    ):
        with pytest.raises(MachineError) as error:
            begin(vmm("dies", channel=channel))
        assert error.value.blame is Blame.VMM
        assert str(error.value) == "fake refuses: giving up"
        assert str(error.value).isprintable()


def test_one_that_dies_without_control_has_ended() -> None:
    complaint = r"the machine ended \(fake: giving up, status 1\)"
    with begin(vmm("dies")) as machine, pytest.raises(MachineEnded, match=complaint):
        machine.console("serial0").expect("x", SOON)


def test_one_that_crashes() -> None:
    with begin(vmm("crashes")) as machine:
        console = machine.console("serial0")
        console.expect(pexpect.EOF, SOON)
        assert console.before == "fake kernel 1.0\n"
        assert machine.ending is not None
        assert (machine.ending.kind, machine.ending.status, machine.ending.text) == ("crash", -11, "SIGSEGV")


def test_a_gigabyte_on_standard_error_is_bounded() -> None:
    with begin(vmm("babbles")) as machine:
        machine.console("serial0").expect(pexpect.EOF, Limit(guest=250.0))
        assert machine.ending is not None
        assert machine.ending.text == "fake: enough"
        said = machine.said()
    assert len(said) < 20_000
    assert re.search(r"\n\[10\d{8} bytes are left out\]\n", said)


def test_a_flood_of_console_is_bounded() -> None:
    with begin(vmm("floods")) as machine:
        console = machine.console("serial0")
        while console.raw.size < 40 << 20:
            with pytest.raises(LimitSpent):
                console.expect("no such text", 0.2)
        assert len(console.before) < 2 << 20
        assert len(console.raw.bytes()) < 6 << 20


def test_one_that_ignores_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "PARTING_SECONDS", 0.2)
    with begin(vmm("stubborn")) as machine:
        machine.console("serial0").expect("ready", SOON)
        everything = {machine.pid, *below(machine.pid)}
        assert len(everything) == 3
    assert machine.ending is not None
    assert (machine.ending.kind, machine.ending.status) == ("killed", -9)
    assert not any(alive(pid) for pid in everything)


def test_what_a_vmm_leaves_running_goes_with_it() -> None:
    with begin(vmm("abandons")) as machine:
        console = machine.console("serial0")
        console.expect(pexpect.EOF, SOON)
        assert console.before == "ready\n"


@pytest.mark.parametrize(
    ("how", "complaint"), [("mumbles", "is no QMP: b'login: '"), ("endless", "bytes without a line end")]
)
def test_a_control_socket_that_speaks_no_qmp(how: str, complaint: str) -> None:
    with pytest.raises(MachineError, match=re.escape(complaint)) as error:
        begin(vmm(how, control=True))
    assert error.value.blame is Blame.VMM


def test_an_option_that_is_missing() -> None:
    with pytest.raises(MachineError, match=r"^fake: options: kernel is missing, and the machine has that$"):
        begin(vmm("silent"), kernel=Path("k"))


def test_a_channel_that_is_missing() -> None:
    with pytest.raises(MachineError, match=r"^fake: channels: there is no serial3$"):
        begin(vmm("silent"), channels=("serial0", "serial3"))


def test_a_value_that_there_is_none_of() -> None:
    with pytest.raises(MachineError, match=r"there is no \{port\} for the argument '-x\{port\}'; there is fd$"):
        begin(vmm("silent", channel=Channel(transport=Transport.FD, arguments=("-x{port}",))))


# ---- endings ----


@pytest.mark.parametrize(
    ("reason", "status", "kind"),
    [
        ("guest-shutdown", 0, "power-off"),
        ("guest-reset", 0, "reset"),
        ("guest-panic", 0, "panic"),
        ("host-signal", 0, "killed"),
        ("host-error", 1, "internal-error"),
        ("something-new", 7, "exit"),
    ],
)
def test_endings_by_qmp(reason: str, status: int, kind: str) -> None:
    environment = {"REASON": reason, "STATUS": str(status)}
    with begin(vmm("qmp", control=True, environment=environment)) as machine:
        console = machine.console("serial0")
        console.expect(pexpect.EOF, SOON)
        assert console.before == "going\n"
        assert machine.ending is not None
        assert (machine.ending.kind, machine.ending.status) == (kind, status)


@pytest.mark.parametrize("registers", ["EIP=0000fff0\r\nCR0=1\r\n", ""])
def test_a_vmm_that_stays_when_its_guest_has_ended_is_asked_for_registers_and_dismissed(registers: str) -> None:
    environment = {"REASON": "guest-reset", "REGISTERS": registers}
    with begin(vmm("lingers", control=True, lingers=True, environment=environment)) as machine:
        console = machine.console("serial0")
        console.expect(pexpect.EOF, SOON)
        assert console.before == "going\ngone\n"
        assert machine.ending is not None
        assert (machine.ending.kind, machine.ending.status) == ("reset", 0)
        assert machine.inspect(1.0) == ({"registers": "EIP=0000fff0\nCR0=1\n"} if registers else {})


def test_a_guest_that_ended_before_we_ended_its_vmm_ended_by_itself() -> None:
    def ending(*reasons: str) -> str:
        kept, control = Mock(exit=Exit(0, 0.0, 0, "")), Mock()
        control.events = [{"event": "SHUTDOWN", "data": {"reason": reason}} for reason in reasons]
        return ending_of(kept, control, {}, ours=True, debug_exit=False).kind

    assert ending("guest-shutdown", "host-qmp-quit") == "power-off"
    assert ending("guest-reset", "host-qmp-quit") == "reset"
    assert ending("host-qmp-quit") == ending() == "killed"


def test_a_debug_exit() -> None:
    with begin(vmm("debug_exit"), debug_exit=True) as machine:
        machine.console("serial0").expect(pexpect.EOF, SOON)
        assert machine.ending is not None
        assert (machine.ending.kind, machine.ending.text) == ("debug-exit", "debug exit 0x21")


def test_statuses() -> None:
    meanings = {"10": "reset"}
    assert from_status(10, "", meanings, ours=False, debug_exit=True).kind == "reset"
    assert from_status(1, "cannot", meanings, ours=False, debug_exit=True).kind == "exit"
    assert from_status(1, "", meanings, ours=False, debug_exit=True).kind == "debug-exit"
    assert from_status(3, "", meanings, ours=False, debug_exit=False).kind == "exit"
    assert from_status(-6, "x", meanings, ours=False, debug_exit=True).text == "SIGABRT: x"
    assert from_status(-9, "", meanings, ours=True, debug_exit=True).kind == "killed"


@pytest.mark.parametrize(("mode", "kind", "status"), [("falls", "triple-fault", 11), ("vanishes", "crash", -9)])
def test_endings_in_turns(mode: str, kind: str, status: int) -> None:
    with begin(turns(mode)) as machine:
        console = machine.console("serial0")
        if mode == "vanishes":
            console.expect_exact("bringup# ", SOON)
        console.expect(pexpect.EOF, SOON)
        assert machine.ending is not None
        assert (machine.ending.kind, machine.ending.status) == (kind, status)


def test_an_answer_that_is_none() -> None:
    with begin(turns("garbage")) as machine, pytest.raises(MachineError, match="a frame that is no answer") as error:
        machine.console("serial0").expect("x", SOON)
    assert error.value.blame is Blame.VMM


def test_a_guest_that_halts_for_ever_is_not_waited_for() -> None:
    with begin(turns("halts")) as machine:
        console = machine.console("serial0")
        console.expect_exact("bringup# ", SOON)
        with pytest.raises(LimitSpent, match=r"the guest has halted for ever while 'x' was awaited"):
            console.expect_exact("x", SOON)
        assert machine.halted


def test_limits_are_the_guests() -> None:
    with begin(turns("spins")) as machine:
        console = machine.console("serial0")
        console.expect_exact("bringup# ", SOON)
        with pytest.raises(LimitSpent, match=r"^serial0: 5000 instructions are spent"):
            console.expect_exact("x", Limit(instructions=5000))
        with pytest.raises(LimitSpent, match=r"^serial0: 2.5 guest seconds are spent"):
            console.expect_exact("x", Limit(guest=2.5))
        assert machine.moment().guest_ns == pytest.approx(2.5e9, rel=0.1)


# ---- ways of a console ----


def test_standard_streams() -> None:
    with begin(vmm("standard", channel=Channel(transport=Transport.STDIO))) as machine:
        console = machine.console("serial0")
        console.expect_exact("on standard output", SOON)
        console.sendline("you")
        console.expect_exact("heard you", SOON)
        assert "on standard error" in machine.said()


def test_a_pseudo_terminal() -> None:
    channel = Channel(transport=Transport.PTY, pattern=r"redirected to (/dev/pts/\d{1,9})")
    with begin(vmm("terminal", channel=channel)) as machine:
        console = machine.console("serial0")
        console.expect_exact("on a terminal", SOON)
        console.sendline("you")
        console.expect_exact("heard you", SOON)


def test_a_terminal_that_is_none() -> None:
    channel = Channel(transport=Transport.PTY, pattern=r"redirected to (/dev/pts/none)")
    with pytest.raises(MachineError, match=r"^fake: /dev/pts/none: No such file or directory$"):
        begin(vmm("misnames", channel=channel))


@pytest.mark.parametrize("transport", [Transport.LISTEN, Transport.CONNECT])
def test_sockets_with_a_path(transport: Transport) -> None:
    how = {Transport.LISTEN: "listens", Transport.CONNECT: "connects"}[transport]
    with begin(vmm(how, channel=Channel(transport=transport, arguments=("--path={path}",)))) as machine:
        machine.console("serial0").expect_exact("on a socket", SOON)


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    channel = Channel(transport=Transport.LISTEN, arguments=("--path={path}",))
    with pytest.raises(MachineError, match=r"longer than a socket's path may be \(107 bytes\)$") as error:
        start(vmm("listens", channel=channel), Settings(memory=1 << 20), scale=Scale(), folder=deep)
    assert error.value.blame is Blame.HOST
    assert list(deep.iterdir()) == []


def test_folders_of_those_who_were_killed_are_swept(tmp_path: Path) -> None:
    orphan = tmp_path / "machine-orphan"
    orphan.mkdir()
    (orphan / "lock").touch()
    (orphan / "serial0").touch()
    mine = SocketFolder(tmp_path)
    second = SocketFolder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {mine.path.name, second.path.name}
    assert mine.path.stat().st_mode & 0o777 == 0o700
    mine.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_files_that_a_network_serves(tmp_path: Path) -> None:
    """They are there by their names while the machine is, and nothing of them afterwards."""
    (tmp_path / "content").write_text("hello")
    parent = tmp_path / "machines"
    serving = vmm("shell", options={"memory": (), "nic": ("--nic={nic}",)})
    files = (("a.ipxe", tmp_path / "content"), ("b", tmp_path / "content"))
    settings = Settings(memory=1 << 20, nic="user", tftp=files, bootfile="a.ipxe")
    machine = start(serving, settings, scale=Scale(), folder=parent)
    (given,) = [word for word in machine.command if word.startswith("--nic=")]
    served = Path(given.removeprefix("--nic=user,tftp=").removesuffix(",bootfile=a.ipxe"))
    assert served.is_relative_to(parent)
    assert {file.name: file.read_text() for file in served.iterdir()} == {"a.ipxe": "hello", "b": "hello"}
    machine.close()
    assert list(parent.iterdir()) == [] and (tmp_path / "content").read_text() == "hello"


def test_a_file_that_cannot_be_served(tmp_path: Path) -> None:
    settings = Settings(memory=1 << 20, nic="user", tftp=(("x" * 300, tmp_path),))
    with pytest.raises(MachineError, match=r"no folder for the files of .*'s network: .*File name too long") as error:
        start(vmm("shell", options={"memory": (), "nic": ()}), settings, scale=Scale(), folder=tmp_path / "machines")
    assert error.value.blame is Blame.HOST
    assert list((tmp_path / "machines").iterdir()) == []


# ---- kill -9 ----

DRIVER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from standins import SOON, vmm
from bringup.harness.limits import Scale
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import Settings
from bringup.harness.vmms.definition import Channel, Transport
path = Channel(transport=Transport.LISTEN, arguments=("--path={path}",))
machine = start(vmm("listens", channel=path), Settings(memory=1 << 20), scale=Scale())
other = start(vmm("stubborn"), Settings(memory=1 << 20), scale=Scale())
other.console("serial0").expect("ready", SOON)
print(machine.pid, other.pid, flush=True)
time.sleep(600)
"""


def test_a_driver_that_is_killed_leaves_nothing() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(FAKE_VMM.parent)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert driver.stdout is not None
    with driver:
        assert driver.stdout.readline().split()
        everything = below(driver.pid)
        assert len(everything) == 6  # two keepers, two VMMs, two children
        driver.kill()
    assert eventually(lambda: not any(alive(pid) for pid in everything))


def test_a_keeper_that_is_killed_takes_its_vmm_along() -> None:
    before = below(os.getpid())
    with begin(vmm("stubborn")) as machine:
        console = machine.console("serial0")
        console.expect("ready", SOON)
        everything = below(os.getpid()) - before
        [keeper] = [pid for pid in everything if b"keeper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        children_in_group = [pid for pid in everything if os.getpgid(pid) == machine.pid]
        os.kill(keeper, signal.SIGKILL)
        console.expect(pexpect.EOF, SOON)
        assert machine.ending is not None
        assert machine.ending.text == "SIGKILL: the keeper of its process was killed"
    assert eventually(lambda: not any(alive(pid) for pid in [keeper, *children_in_group]))
    for pid in everything:  # one that has left the process group is nobody's then: this test cleans up after itself
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda pid=pid: not alive(pid))  # type: ignore[misc]


def test_a_vmm_that_is_killed() -> None:
    with begin(vmm("stubborn")) as machine:
        console = machine.console("serial0")
        console.expect("ready", SOON)
        everything = below(machine.pid)
        os.kill(machine.pid, signal.SIGKILL)
        console.expect(pexpect.EOF, SOON)
        assert machine.ending is not None
        assert (machine.ending.kind, machine.ending.status) == ("crash", -9)
    assert not any(alive(pid) for pid in everything)


def test_a_keeper_that_is_terminated_cleans_up() -> None:
    before = below(os.getpid())
    with begin(vmm("stubborn")) as machine:
        machine.console("serial0").expect("ready", SOON)
        everything = below(os.getpid()) - before
        [keeper] = [pid for pid in everything if b"keeper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(keeper, signal.SIGTERM)
        machine.console("serial0").expect(pexpect.EOF, SOON)
        assert not any(alive(pid) for pid in everything - {keeper})


def test_an_interrupt_while_a_machine_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machines, "_link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begin(vmm("stubborn"))


def test_sockets_of_a_machine_are_its_own() -> None:
    """A machine's ends are closed in the driver: else its death would go unnoticed while another machine lives."""
    with begin(vmm("shell")) as first, begin(vmm("shell")):
        console = first.console("serial0")
        console.expect_exact("$ ", SOON)
        os.kill(first.pid, signal.SIGKILL)
        console.expect(pexpect.EOF, SOON)
