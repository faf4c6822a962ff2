"""Stand-ins for VMMs in host time and for broken ones: `fake_vmm.py HOW [OPTIONS]`. HOW is a function below.

Consoles are inherited sockets (`--serial=FD`), control is `--qmp=FD`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

OPTIONS = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:] if "=" in word)
FOR_EVER = 3600


def connected(name: str) -> socket.socket:
    return socket.socket(fileno=int(OPTIONS[name]))


def shell() -> None:
    """A shell on the serial line: echoes, answers `echo` and `exit`, powers off."""
    line, number = connected("serial"), 0
    line.sendall(b"fake kernel 1.0\r\n\x1b[6n$ ")
    typed = b""
    while True:
        data = line.recv(1)
        if not data:
            return
        if data != b"\n":
            typed += data
            line.sendall(data)
            continue
        number += 1
        line.sendall(b"\r\n" + run(typed.decode()) + b"$ ")
        typed = b""


STATUS = 0


def run(text: str) -> bytes:
    global STATUS
    output = b""
    for command in text.split(";"):
        name, _, rest = command.strip().partition(" ")
        if name == "echo":
            output += rest.replace("$?", str(STATUS)).encode() + b"\r\n"
        elif name == "poweroff":
            sys.exit(0)
        STATUS = {"false": 1, "chat": 0}.get(name, 0)
        if name == "chat":
            output += b"one\r\n[   12.000001] usb 1-1: new device\r\ntwo\r\n"
    return output


def silent() -> None:
    """Says nothing at all."""
    time.sleep(FOR_EVER)


def dies() -> None:
    """Ends at once, with a complaint."""
    sys.exit("fake: no such machine\x1b[31m\nfake: giving up")


def crashes() -> None:
    """A signal ends it in the middle of its guest."""
    connected("serial").sendall(b"fake kernel 1.0\r\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def babbles() -> None:
    """1 GB on standard error, and then it ends."""
    block = b"out of cheese\n" * 80000
    for _ in range((1 << 30) // len(block)):
        os.write(2, block)
    sys.exit("fake: enough")


def floods() -> None:
    """Console output without end."""
    line, block = connected("serial"), b"all work and no play\r\n" * 3000
    while True:
        line.sendall(block)


def stubborn() -> None:
    """Ignores SIGTERM, and so do its children, one of which leaves the process group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    again = [sys.executable, __file__, "sleeps"]
    subprocess.Popen(again)
    subprocess.Popen(again, start_new_session=True)
    if "serial" in OPTIONS:
        connected("serial").sendall(b"ready\r\n")
    time.sleep(FOR_EVER)


def sleeps() -> None:
    """A child that ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(FOR_EVER)


def abandons() -> None:
    """Ends while a child of its goes on, which has the console open."""
    line = connected("serial")
    line.sendall(b"ready\r\n")
    line.set_inheritable(True)
    subprocess.Popen([sys.executable, __file__, "sleeps"], pass_fds=[line.fileno()], start_new_session=True)


def qmp() -> None:
    """Speaks QMP, says how the machine ended: REASON."""
    control = connected("qmp")
    control.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\n')
    reader = control.makefile("rb")
    for _ in range(2):
        request = json.loads(reader.readline())
        control.sendall(json.dumps({"return": {}, "id": request["id"]}).encode() + b"\n")
    connected("serial").sendall(b"going\r\n")
    event = {"event": "SHUTDOWN", "data": {"guest": True, "reason": os.environ["REASON"]}}
    control.sendall(json.dumps(event).encode() + b"\n")
    sys.exit(int(os.environ.get("STATUS", "0")))


def lingers() -> None:
    """Speaks QMP, and stays when its guest has ended (REASON) until it is told to go. REGISTERS: its own."""
    control, line = connected("qmp"), connected("serial")
    control.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\n')
    registers = os.environ["REGISTERS"]
    for request in map(json.loads, control.makefile("rb")):
        command: str = request["execute"]
        answer: dict[str, object] = {"return": {}}
        if command == "human-monitor-command":
            answer = {"return": registers} if registers else {"error": {"desc": "not now"}}
        control.sendall(json.dumps({"id": request["id"], **answer}).encode() + b"\n")
        reason = {"cont": os.environ["REASON"], "quit": "host-qmp-quit"}.get(command)
        if reason:
            line.sendall(b"going\r\n" if command == "cont" else b"gone\r\n")
            event = {"event": "SHUTDOWN", "data": {"guest": command == "cont", "reason": reason}}
            control.sendall(json.dumps(event).encode() + b"\n")
        if command == "quit":
            break


def mumbles() -> None:
    """A control socket that does not speak QMP."""
    connected("qmp").sendall(b"login: \n")
    time.sleep(FOR_EVER)


def endless() -> None:
    """A control socket on which a message never ends."""
    control = connected("qmp")
    while True:
        control.sendall(b"[" * 65536)


def debug_exit() -> None:
    """isa-debug-exit."""
    sys.exit(0x21 << 1 | 1)


def standard() -> None:
    """The console is standard input and output."""
    print("on standard output", flush=True)
    print("on standard error", file=sys.stderr, flush=True)
    for line in sys.stdin:
        print(f"heard {line.strip()}", flush=True)


def terminal() -> None:
    """The console is a pseudo-terminal."""
    master, slave = os.openpty()
    print(f"char device redirected to {os.ttyname(slave)} (label serial0)", file=sys.stderr, flush=True)
    time.sleep(0.2)
    os.write(master, b"on a terminal\r\n")
    heard = os.read(master, 100)
    os.write(master, b"heard " + heard)
    time.sleep(FOR_EVER)


def misnames() -> None:
    """Names a pseudo-terminal that is none, and goes on."""
    print("char device redirected to /dev/pts/none", flush=True)
    time.sleep(FOR_EVER)


def listens() -> None:
    """The console is a socket on which it listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(OPTIONS["path"])
        listener.listen()
        line, _ = listener.accept()
    line.sendall(b"on a socket\r\n")
    time.sleep(FOR_EVER)


def connects() -> None:
    """It connects to a socket."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(OPTIONS["path"])
    line.sendall(b"on a socket\r\n")
    time.sleep(FOR_EVER)


globals()[sys.argv[1]]()
