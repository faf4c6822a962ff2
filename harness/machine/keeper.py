"""Keeps one VMM: starts it, watches it, ends all that it started. `python -I -S keeper.py FD`.

FD is a SOCK_SEQPACKET socket to the driver; a packet is a JSON object. The driver's first says what to start:
`command`, `environment`, `descriptors` (open ones that the VMM inherits), `standard` (one of them for its standard
input and output, or null) and `folder` (or null). It is answered by `{"started": PID}` or `{"failed": TEXT}`. Then

    {"ask": "output"}                   -> {"output": TEXT}: what the VMM has said
    {"ask": "end", "patience": SECONDS}    SIGTERM, and SIGKILL after so long
                                        -> {"ended": STATUS, "cpu": SECONDS, "peak": BYTES, "output": TEXT}
    {"ask": "remove", "folder": PATH}      another folder that goes with the VMM

`ended` comes in any case when the VMM has ended. When the driver is gone (end of its socket, or its process),
everything ends at once. However it ends: no process that the VMM started is left, and the folders are removed.

Standard library only, and little of that: a keeper starts with each machine.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
HEAD = TAIL = 8192
"""Bytes that are kept of what a VMM says: so many from its beginning and from its end."""
SWEEP_SECONDS = 0.005
PACKET = 1 << 18

prctl = ctypes.CDLL(None, use_errno=True).prctl


def children(pid: int) -> list[int]:
    """Of a process, its threads' ones among them."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it ended meanwhile
    return found


class Keeper:
    """One VMM's."""

    def __init__(self, driver: socket.socket) -> None:
        self.driver = driver
        self.parent = os.getppid()
        self.head, self.tail, self.left_out = b"", b"", 0
        self.status: int | None = None
        self.kill_at: float | None = None
        self.orphaned = False

    def run(self) -> None:
        """From the order to the last report."""
        order = json.loads(self.driver.recv(PACKET))
        self.folders = [folder for folder in (order["folder"],) if folder is not None]
        signal.signal(signal.SIGTERM, self.abandon)
        try:
            self.pid, self.output = self.start(order)
        except OSError as error:
            self.report({"failed": f"{order['command'][0]}: {error.strerror}"})
            self.remove_folders()
            return
        self.report({"started": self.pid})
        try:
            self.watch()
        finally:
            self.sweep()
            self.remove_folders()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.read_output()
        self.report(
            {
                "ended": self.status,
                "cpu": usage.ru_utime + usage.ru_stime,
                "peak": usage.ru_maxrss << 10,
                "output": self.said(),
            }
        )

    def start(self, order: dict) -> tuple[int, int]:  # type: ignore[type-arg]  # JSON
        """The VMM's process id, and the pipe with what it says; OSError when it cannot be executed."""
        inherited, standard = order["descriptors"], order["standard"]
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write, True)
        failure, failing = os.pipe2(os.O_CLOEXEC)
        self.own_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self.become(order, write)
            except OSError as error:
                os.write(failing, str(error.errno).encode())
            finally:
                os._exit(127)
        for fd in (write, failing, *inherited):
            os.close(fd)
        if standard is not None and standard not in inherited:
            os.close(standard)
        number = os.read(failure, 16)
        os.close(failure)
        if number:
            os.waitpid(pid, 0)
            raise OSError(int(number), os.strerror(int(number)))
        return pid, read

    def become(self, order: dict, output: int) -> None:  # type: ignore[type-arg]
        """In the child: the VMM."""
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.own_pid:
            return  # killed before it could be asked for
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        standard = order["standard"]
        os.dup2(nothing if standard is None else standard, 0)
        os.dup2(output if standard is None else standard, 1)
        os.dup2(output, 2)
        for fd in order["descriptors"]:
            os.set_inheritable(fd, True)
        os.execvpe(order["command"][0], order["command"], order["environment"])

    def watch(self) -> None:
        """Until the VMM has ended, or there is nobody to keep it for."""
        wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        poll = select.poll()
        for fd in (wake, self.output, self.driver.fileno()):
            poll.register(fd, select.POLLIN)
        try:
            poll.register(os.pidfd_open(self.parent), select.POLLIN)
        except OSError:
            pass  # it is gone, which the end of its socket tells, or the kernel is older than 5.3
        self.reap()
        while self.status is None and not self.orphaned:
            late = self.kill_at is not None and time.monotonic() >= self.kill_at
            if late:
                os.kill(self.pid, signal.SIGKILL)
                self.kill_at = None
            seconds = None if self.kill_at is None else max(self.kill_at - time.monotonic(), 0.0)
            for fd, _ in poll.poll(None if seconds is None else seconds * 1000 + 1):
                if fd == wake:
                    os.read(wake, 64)
                    self.reap()
                elif fd == self.output:
                    if not self.read_output():
                        poll.unregister(fd)
                elif fd == self.driver.fileno():
                    self.obey()
                else:
                    self.abandon()

    def abandon(self, *_: object) -> None:
        """The driver is gone, or somebody wants us to end."""
        self.orphaned = True

    def reap(self) -> None:
        """Takes the statuses of all that has ended: the VMM's, and those of orphans below it."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.pid:
                    self.status = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return

    def obey(self) -> None:
        """One request of the driver."""
        try:
            packet = self.driver.recv(PACKET)
        except OSError:
            packet = b""
        if not packet:
            self.abandon()
            return
        request = json.loads(packet)
        if request["ask"] == "output":
            self.read_output()
            self.report({"output": self.said()})
        elif request["ask"] == "end":
            os.kill(self.pid, signal.SIGTERM)
            self.kill_at = time.monotonic() + request["patience"]
        elif request["ask"] == "remove":
            self.folders.append(request["folder"])

    def read_output(self) -> bool:
        """Takes what the VMM has said since, within bounds; False at the end."""
        for _ in range(64):
            try:
                data = os.read(self.output, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            room = HEAD - len(self.head)
            self.head += data[:room]
            self.left_out += len(self.tail) + len(data[room:])
            self.tail = (self.tail + data[room:])[-TAIL:]
            self.left_out -= len(self.tail)
        return True

    def said(self) -> str:
        """What the VMM has said, its middle left out when that is much."""
        gap = f"\n[{self.left_out} bytes are left out]\n".encode() if self.left_out else b""
        return (self.head + gap + self.tail).decode(errors="replace")

    def report(self, message: dict) -> None:  # type: ignore[type-arg]
        """To the driver, if it is there."""
        try:
            self.driver.send(json.dumps(message).encode(), socket.MSG_NOSIGNAL)
        except OSError:
            pass  # nobody is interested any more

    def sweep(self) -> None:
        """Kills and reaps everything below, until there is nothing."""
        while True:
            pending = children(os.getpid())
            for pid in pending:
                pending += children(pid)
            for pid in pending:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass  # it ended meanwhile
            self.reap()
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            time.sleep(SWEEP_SECONDS)

    def remove_folders(self) -> None:
        """All that were entrusted to us."""
        for folder in self.folders:
            self.remove(folder)

    def remove(self, folder: str) -> None:
        """A folder with what is in it."""
        try:
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    self.remove(entry.path)
                else:
                    os.unlink(entry.path)
            os.rmdir(folder)
        except OSError:
            pass  # not ours any more


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    driver = socket.socket(fileno=int(sys.argv[1]))
    driver.set_inheritable(False)
    Keeper(driver).run()
