"""`bringup run` as a process: tiny kernels that are a few instructions behind a bzImage header."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from bringup.harness.console.turns import Event, Reason, TurnsClient
from bringup.vmm import run
from bringup.vmm.loop import Status
from bringup.vmm.run import Endpoint
from bringup.vmm.spec import SpecError

LOAD = 1 << 20
ENTRY = LOAD + 0x200

PRELUDE = """
.intel_syntax noprefix
.set COM1, 0x3f8
.macro power_off
    mov dx, 0x604
    mov ax, 5 << 10 | 1 << 13
    out dx, ax
.endm
.macro print text
    lea rsi, [rip + 1f]
    call write_text
    jmp 2f
1:  .asciz "\\text"
2:
.endm
    mov esp, 0x80000
    jmp main
write_text:
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret
read_byte:                      # polls the line status register
    mov dx, COM1 + 5
1:  in al, dx
    test al, 1
    jz 1b
    mov dx, COM1
    in al, dx
    ret
main:
"""
HELLO = 'print "hello\\n"\npower_off'
SPIN = "1: jmp 1b"
ECHO = """
    print "> "
1:  call read_byte
    cmp al, 4
    je 2f
    xor al, 0x20
    mov dx, COM1
    out dx, al
    jmp 1b
2:  power_off
"""
ENDLESS = 'again: print "all work and no play\\n"\njmp again'
# The UART's interrupt ends HLT: the 8259 pair through LINT0, IRQ 4 only, vector 24h; its handler does nothing but EOI.
PROMPT = """
    lea rax, [rip + handler]
    mov edi, 0x70000
    mov word ptr [rdi + 0x240], ax
    mov word ptr [rdi + 0x242], cs
    mov word ptr [rdi + 0x244], 0x8e00
    shr rax, 16
    mov word ptr [rdi + 0x246], ax
    mov dword ptr [rdi + 0x248], 0
    mov word ptr [0x6fff0], 0xfff
    mov qword ptr [0x6fff2], 0x70000
    lidt [0x6fff0]
    mov al, 0x11
    out 0x20, al
    mov al, 0x20
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xef
    out 0x21, al
    mov dx, COM1 + 1
    mov al, 1
    out dx, al
    mov dx, COM1 + 4
    mov al, 8
    out dx, al
    print "> "
wait:
    sti
    hlt
    cli
drain:
    mov dx, COM1 + 5
    in al, dx
    test al, 1
    jz wait
    mov dx, COM1
    in al, dx
    cmp al, 4
    je off
    xor al, 0x20
    out dx, al
    jmp drain
off:
    power_off
    hlt
handler:
    push rax
    mov al, 0x20
    out 0x20, al
    pop rax
    iretq
"""


@pytest.fixture
def kernel(here: Path) -> Callable[[str], Path]:
    """Makes a bzImage of a few lines of assembler, entered in long mode with interrupts off."""

    def make(source: str) -> Path:
        code = tiny.assemble(PRELUDE + source + "\n", ENTRY)
        payload = bytes(0x200) + code + bytes(-len(code) % 16)
        setup = bytearray(1024)
        for offset, layout, value in (
            (0x1F1, "B", 1),
            (0x1F4, "I", len(payload) // 16),
            (0x1FE, "H", 0xAA55),
            (0x200, "H", 0x6AEB),
            (0x202, "4s", b"HdrS"),
            (0x206, "H", 0x020F),
            (0x211, "B", 1),
            (0x22C, "I", 0x7FFFFFFF),
            (0x236, "H", 1),
            (0x238, "I", 2047),
            (0x258, "Q", LOAD),
            (0x260, "I", 1 << 20),
        ):
            struct.pack_into(f"<{layout}", setup, offset, value)
        path = here / "bzImage"
        path.write_bytes(setup + payload)
        return path

    return make


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}


def command(kernel: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "bringup.vmm.run", "--kernel", str(kernel), "--memory", "4M", *options]


def bringup(kernel: Path, *options: str, stdin: Any = subprocess.DEVNULL) -> tuple[int, str, str]:
    """Runs to the end: status, standard output, standard error."""
    done = subprocess.run(
        command(kernel, *options), stdin=stdin, capture_output=True, env=environment(), timeout=60, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextlib.contextmanager
def started(kernel: Path, *options: str, **pipes: Any) -> Iterator[subprocess.Popen[bytes]]:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
    with subprocess.Popen(command(kernel, *options), env=environment(), **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


SUMMARY = r"bringup: (.+) after (\d+) instructions, \d+\.\d{9} guest seconds, at RIP 0x[0-9a-f]+\n"


@pytest.fixture(params=["vtx", "bare"])
def accel(request: pytest.FixtureRequest) -> str:
    return f"--accel={request.param}"


# ---- endings ----


def test_power_off(kernel: Any, accel: str) -> None:
    assert bringup(kernel(HELLO), accel) == (0, "hello\n", "")
    status, _, errors = bringup(kernel(HELLO), accel, "--verbose")
    assert status == 0
    summary, _, exits = errors.partition("\n")
    assert re.fullmatch(SUMMARY, summary + "\n")
    assert ("IO_INSTRUCTION (30), qualification" in exits) == accel.endswith("vtx"), exits


@pytest.mark.parametrize(
    ("source", "options", "status", "kind"),
    [
        ("lidt [rip + 1f]\nint3\n1: .zero 10", (), Status.TRIPLE_FAULT, "triple fault"),
        (SPIN, ("--budget-instructions", "1M"), Status.BUDGET, "budget of 1000000 instructions spent"),
        ("cli\nhlt", (), Status.IDLE, "idle for ever"),
        ("sti\nhlt", (), Status.IDLE, "idle for ever"),
        ("mov dx, 0x505\nmov al, 1\nout dx, al\nhlt", (), Status.PANIC, "guest panic"),
        (
            'lea rsi, [rip + 1f]\nmov ecx, 5\nmov dx, 0xe9\ncld\nrep outsb\nhlt\n1: .ascii "panic"',
            (),
            Status.PANIC,
            "guest panic",
        ),
        ("mov dx, 0xcf9\nmov al, 6\nout dx, al\nhlt", ("--no-reboot",), Status.RESET, "reset"),
        ("mov al, 0xfe\nout 0x64, al\nhlt", ("--no-reboot",), Status.RESET, "reset"),
    ],
)
def test_endings(kernel: Any, accel: str, source: str, options: tuple[str, ...], status: int, kind: str) -> None:
    code, output, errors = bringup(kernel(source), accel, *options)
    match = re.fullmatch(SUMMARY, errors)
    assert match, errors
    assert (code, output, match[1]) == (status, "", kind)


def test_the_budget_is_exact_and_both_ways_to_run_agree(kernel: Any) -> None:
    path = kernel(ENDLESS)
    for budget in (1, 2, 77, 10_000, 123_457):
        seen = {bringup(path, f"--accel={accel}", f"--budget-instructions={budget}") for accel in ("vtx", "bare")}
        assert len(seen) == 1
        [(status, _, errors)] = seen
        assert status == 13
        assert f" after {budget} instructions, 0.{budget:09} guest seconds" in errors


@pytest.mark.parametrize(("value", "status"), [(0, 1), (5, 11), (0x2A, 85), (0xFF, 0xFF)])
def test_debug_exit(kernel: Any, accel: str, value: int, status: int) -> None:
    path = kernel(f"mov al, {value}\nout 0xf4, al\n{HELLO}")
    assert bringup(path, accel, "--debug-exit") == (status, "", "")
    assert bringup(path, accel) == (0, "hello\n", "")


def test_a_reset_boots_again(kernel: Any, accel: str) -> None:
    path = kernel(
        """
        print "boot "
        inc dword ptr [0x9000]
        cmp dword ptr [0x9000], 3
        je 3f
        mov dx, 0xcf9
        mov al, 6
        out dx, al
    3:  power_off
        """
    )
    assert bringup(path, accel) == (0, "boot boot boot ", "")


def test_a_guest_that_prints_without_end(kernel: Any) -> None:
    with started(kernel(ENDLESS)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        text = b"".join(process.stdout.read(10_000) for _ in range(100))
        assert text == (b"all work and no play\n" * 50_000)[: len(text)]
        process.stdout.close()
        assert process.wait(30) == 141
        assert "nobody reads standard output" in process.stderr.read().decode()


@pytest.mark.parametrize(("source", "lines"), [(ECHO, 10), (PROMPT, 1000)])
def test_a_pipe_is_read_to_its_end(kernel: Any, source: str, lines: int) -> None:
    """More than the UART's queue holds, too; the guest that polls sees the characters pass at 9600 baud."""
    with started(kernel(source), stdin=subprocess.PIPE) as process:
        output, _ = process.communicate(b"hello World\n" * lines + b"\x01x\x04", timeout=60)
        assert output == b"> " + bytes(byte ^ 0x20 for byte in b"hello World\n" * lines + b"\x01x")
        assert process.returncode == 0


# ---- from outside ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("source", [SPIN, 'print "x"\nsti\nhlt'])
def test_signals_end_it_and_nothing_is_left(kernel: Any, number: signal.Signals, source: str) -> None:
    with started(kernel(source), "--qmp=unix:qmp", "--serial=unix:com1", "--serial=pty") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"bringup: COM2 is /dev/pts/")
        wait_for(Path("qmp").exists)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert f"ended by {number.name} after" in process.stderr.read().decode()
    assert sorted(path.name for path in Path().iterdir()) == ["bzImage"]


def test_an_orphan_ends(kernel: Any) -> None:
    child = command(kernel(SPIN), "--qmp=unix:qmp")
    parent = f"import subprocess, sys; print(subprocess.Popen({child!r}).pid, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        wait_for(Path("qmp").exists)
        process.kill()
    wait_for(lambda: not Path("qmp").exists())
    wait_for(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connect(path: str) -> socket.socket:
    """A connection to a socket that may not be there yet, or not listen yet."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    wait_for(lambda: connection.connect_ex(path) == 0)
    return connection


def test_qmp_stops_and_ends_a_machine(kernel: Any) -> None:
    with started(kernel(ENDLESS), "--qmp=unix:qmp", "--serial=none") as process, connect("qmp") as qmp:
        stream = qmp.makefile("rw")
        assert "QMP" in stream.readline()
        for name, answers in (("qmp_capabilities", 1), ("stop", 2), ("query-status", 1), ("cont", 2), ("quit", 2)):
            stream.write(f'{{"execute": "{name}"}}\n')
            stream.flush()
            for _ in range(answers):
                answer = stream.readline()
                assert "error" not in answer
            if name == "query-status":
                assert '"paused"' in answer
        assert process.wait(30) == 0
    assert not Path("qmp").exists()


# ---- at a terminal ----


class Terminal:
    """A person at a terminal."""

    def __init__(self, *arguments: Any) -> None:
        self.master, self.slave = os.openpty()
        self.mode = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            command(*arguments), stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment()
        )
        self.text = b""

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + 30
        while text not in self.text:
            assert select.select([self.master], [], [], deadline - time.monotonic())[0], self.text
            self.text += os.read(self.master, 1000)
        self.text = self.text.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*arguments: Any) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.mark.parametrize("source", [ECHO, PROMPT])
def test_an_interactive_guest(kernel: Any, accel: str, terminal: Any, source: str) -> None:
    person = terminal(kernel(source), accel)
    person.expect(b"> ")
    person.type(b"hello\x03")
    person.expect(b"HELLO\x23")
    person.type(b"\x01\x01")
    person.expect(b"\x21")
    person.type(b"\x01x")
    assert person.process.wait(30) == 0
    assert termios.tcgetattr(person.slave) == person.mode


def test_a_terminal_after_a_killed_machine(kernel: Any, terminal: Any) -> None:
    person = terminal(kernel(PROMPT))
    person.expect(b"> ")
    assert termios.tcgetattr(person.slave) != person.mode
    person.process.kill()
    wait_for(lambda: termios.tcgetattr(person.slave) == person.mode)


def test_an_idle_machine_at_a_terminal_costs_nothing(kernel: Any, terminal: Any) -> None:
    person = terminal(kernel(PROMPT))
    person.expect(b"> ")
    time.sleep(0.2)
    before = cpu_ticks(person.process.pid)
    time.sleep(0.5)
    assert cpu_ticks(person.process.pid) - before <= 5
    person.type(b"\x04")
    assert person.process.wait(30) == 0


def cpu_ticks(pid: int) -> int:
    """User and system time in clock ticks, 10 ms (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# ---- turns ----


@pytest.mark.parametrize("disturbed", [False, True])
def test_a_conversation_in_turns(kernel: Any, accel: str, disturbed: bool) -> None:
    """Stopped and continued between turns, or not: `EXPECTED` holds for both, and for both accelerators."""
    said: list[Any] = []
    output = b""
    with started(kernel(PROMPT), accel, "--turns=unix:turns") as process:
        with TurnsClient("turns") as client:
            for text in (b"", b"one", b"two", b"\x04"):
                reason = Reason.IDLE  # the guest halts between two characters
                while reason is Reason.IDLE:
                    if disturbed:
                        process.send_signal(signal.SIGSTOP)
                        time.sleep(0.02)
                        process.send_signal(signal.SIGCONT)
                    turn = client.turn(text, instructions=10**6, guest_ns=10**9, timeout=30)
                    reason, text = turn.reason, b""
                    output += turn.output
                    said.append((reason, turn.output, turn.count, turn.time, list(turn.counts)))
            assert (turn.reason, turn.event, turn.status) == (Reason.EVENT, Event.POWER_OFF, 0)
        assert process.wait(30) == 0
    assert output == b"> ONETWO"
    assert EXPECTED.setdefault("conversation", said) == said
    assert not Path("turns").exists()


EXPECTED: dict[str, Any] = {}


def test_inherited_sockets_need_no_files(kernel: Any) -> None:
    near, far = socket.socketpair()
    control, remote = socket.socketpair()
    options = [f"--turns=fd:{far.fileno()}", f"--qmp=fd:{remote.fileno()}"]
    with subprocess.Popen(command(kernel(SPIN), *options), pass_fds=[far.fileno(), remote.fileno()]) as process:
        far.close()
        remote.close()
        with control, TurnsClient(near) as client:
            assert client.turn(instructions=1000).count == 1000
            assert control.recv(1 << 16).startswith(b'{"QMP"')
        assert process.wait(30) == 129
    assert [path.name for path in Path().iterdir() if path.is_socket()] == []


@pytest.mark.parametrize("option", ["--turns", "--qmp", "--serial"])
def test_a_descriptor_that_is_no_connected_socket(
    kernel: Any, option: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket(socket.AF_UNIX) as lonely:
        for fd, why in [
            (file.fileno(), "Socket operation on non-socket"),
            (os.dup(lonely.fileno()), "Transport endpoint is not connected"),
            (999, "Bad file descriptor"),
        ]:
            assert run.main(["--kernel", str(kernel(HELLO)), f"{option}=fd:{fd}"]) == 2
            assert capfd.readouterr().err == f"bringup: fd:{fd} is not a connected socket: {why}\n"


def test_the_round_trip_of_an_empty_turn(kernel: Any) -> None:
    """What turns cost is printed, not judged: docs/turns.md has the bound."""
    with started(kernel(SPIN), "--turns=unix:turns"), TurnsClient("turns") as client:
        start = time.perf_counter()
        for _ in range(1000):
            client.turn(instructions=1)
        print(f"{(time.perf_counter() - start) * 1e3:.1f} us a turn")
        assert client.count == 1000


@pytest.mark.parametrize(
    ("garbage", "status", "complaint"),
    [
        (b"\xff\xff\xff\xff", 2, "the turns driver broke the protocol: a frame of 4294967295 bytes"),
        (b"", 129, "the turns driver hung up"),
    ],
)
def test_a_bad_driver(kernel: Any, garbage: bytes, status: int, complaint: str) -> None:
    with started(kernel(SPIN), "--turns=unix:turns") as process, connect("turns") as driver:
        assert driver.recv(100)[4:5] == b"H"
        driver.sendall(garbage)
        if not garbage:
            driver.close()
        assert process.wait(30) == status
        assert process.stderr is not None
        assert complaint in process.stderr.read().decode()
    assert not Path("turns").exists()


# ---- what is asked wrongly ----


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--memory", "12Q"], "argument --memory: '12Q': not a size such as 512M or 2G"),
        (["--memory", "1M"], "memory is 1048576 bytes: it must be a multiple of 1M, at least 2M"),
        (["--memory", "2T"], "memory is 2199023255552 bytes: there can be at most 256G"),
        (["--memory", "999999999999T"], "there can be at most 256G"),
        (["--cpu", "pentium4"], "unknown CPU model 'pentium4' (known: x86-64-v2, "),
        (["--cpu", "max,+TURBO"], "CPU model 'max': '+TURBO' is not +FEATURE or -FEATURE of a known feature"),
        (["--cpus", "0"], "argument --cpus: '0': a machine has 1 to 254 vCPUs"),
        (["--cpus", "1000"], "argument --cpus: '1000': a machine has 1 to 254 vCPUs"),
        (["--cpus", "2", "--cpu", "max,-APIC"], "2 vCPUs: CPU model 'max,-APIC' has no local APIC, so there can be 1"),
        (["--cpu", "pentium3"], "starts in 64-bit mode, which CPU model 'pentium3' lacks"),
        (["--slice", "0"], "argument --slice: '0': not a number of instructions from 1 to 4294967295"),
        (["--accel", "kvm"], "argument --accel: invalid choice: 'kvm'"),
        (["--clock", "wall"], "argument --clock: invalid choice: 'wall'"),
        (["--seed", "x"], "argument --seed: 'x': not a whole number"),
        (["--rtc", "soon"], "argument --rtc: 'soon': not a time such as"),
        (["--budget-instructions", "0"], "argument --budget-instructions: '0': not between 1 and 2^64 - 2"),
        (["--serial", "tcp:1"], "argument --serial: 'tcp:1': not stdio, pty, none, unix:PATH or fd:N"),
        (["--serial", "stdio", "--serial", "stdio"], "--serial stdio: given twice"),
        (["--serial", "none"] * 5, "--serial: given 5 times, there are 4 serial ports"),
        (["--qmp", "tcp:1"], "argument --qmp: 'tcp:1': not unix:PATH or fd:N"),
        (["--qmp", "unix:no/where"], "cannot listen on unix:no/where: No such file or directory"),
        (["--turns", "unix:"], "argument --turns: 'unix:': not unix:PATH or fd:N"),
        (["--turns", "unix:t", "--clock", "host"], "--clock host: with --turns guest time is virtual"),
        (["--turns", "unix:t", "--serial", "stdio"], "--serial: with --turns the driver has all serial lines"),
        (["--kernel", "missing"], "cannot read the kernel missing: No such file or directory"),
        (["--kernel", "."], "cannot read the kernel .: Is a directory"),
        (["--initrd", "missing"], "cannot read the initrd missing: No such file or directory"),
        (["--append", "x" * 3000], "the command line has 3000 bytes: the kernel "),
        (["--kernle", "x"], "unrecognized arguments: --kernle x"),
        (["--memory"], "argument --memory: expected one argument"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(
    kernel: Any, capfd: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    path = kernel(HELLO)
    try:
        status: Any = run.main(["--kernel", str(path), *options])
    except SystemExit as end:
        status = end.code
    output, errors = capfd.readouterr()
    assert (status, output) == (2, "")
    assert errors.startswith("bringup: ")
    assert complaint in errors
    assert errors.count("\n") == 1
    assert errors.endswith("\n")


@pytest.mark.parametrize(
    ("content", "options", "complaint"),
    [
        (b"MZ" + bytes(5000), [], "is neither a Linux bzImage nor a multiboot image"),
        (gzip.compress(bytes(100), mtime=0), [], "is packed with gzip: unpack it first"),
        (struct.pack("<3I", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF), [], "is not an ELF file"),
        (struct.pack("<8I", 0x1BADB002, 1 << 16, -0x1BAEB002 & 0xFFFFFFFF, *[0xFFFFF000] * 5), [], "0xfffff000"),
        (struct.pack("<8I", 0x1BADB002, 1 << 16, -0x1BAEB002 & 0xFFFFFFFF, *[LOAD] * 2, 0, 0, LOAD), ["--cpu", "286"],
         "starts in 32-bit protected mode, which CPU model '286' lacks"),
        (struct.pack("<8I", 0x1BADB002, 1 << 16, -0x1BAEB002 & 0xFFFFFFFF, *[LOAD] * 2, 0, 0, LOAD), ["--initrd", ","],
         "--initrd ',': a module has no file name"),
    ],
)  # fmt: skip
def test_kernels_that_cannot_be_booted_are_one_line_and_status_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, options: list[str], complaint: str
) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    assert run.main(["--kernel", str(path), *options]) == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.startswith("bringup: ")
    assert complaint in errors
    assert errors.count("\n") == 1


def test_an_error_of_our_own_is_one_line_and_status_70(
    kernel: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("somewhere")

    monkeypatch.setattr(run, "Machine", broken)
    path = str(kernel(HELLO))
    assert run.main(["--kernel", path, "--memory", "4M", "--serial", "none"]) == 70
    assert capfd.readouterr().err == "bringup: internal error: ZeroDivisionError: somewhere (--verbose shows where)\n"
    with pytest.raises(ZeroDivisionError):
        run.main(["--kernel", path, "--memory", "4M", "--serial", "none", "--verbose"])


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("stdio", Endpoint("stdio")),
        ("pty", Endpoint("pty")),
        ("unix:a:b", Endpoint("socket", Path("a:b"))),
        ("unix:/x", Endpoint("socket", Path("/x"))),
        ("fd:3", Endpoint("socket", 3)),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    assert run.parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["", "unix", "unix:", "file:x", "STDIO"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(SpecError):
        run.parse_endpoint(text)
