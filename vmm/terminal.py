"""What a UART is wired to: standard input and output, a pseudo-terminal or a Unix socket.

All three keep the last 256 KiB of output while nobody listens. While somebody does, nothing is lost: when that much
waits, the guest waits too.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
import sys
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from .loop import Poller

BACKLOG = 256 << 10
CHUNK = 4096
PTY_PROBE_SECONDS = 0.1  # how long an idle machine may overlook that somebody attached to its pseudo-terminal

ESCAPE = 0x01  # Ctrl-A
HELP = b"\r\nCtrl-A X ends the machine, Ctrl-A Ctrl-A sends Ctrl-A\r\n"


class TerminalError(Exception):
    """A line that cannot be set up; the text is one line for the person who asked."""


class _Line:
    """Output waiting for its reader, input waiting for the UART's queue."""

    def __init__(self, poller: Poller, receive: Callable[[bytes], int]) -> None:
        self._poller = poller
        self._receive = receive  # bytes to the UART; answers how many it took
        self._output = bytearray()
        self._input = b""
        self.attached = False

    @property
    def congested(self) -> bool:
        return self.attached and len(self._output) >= BACKLOG

    @property
    def waiting(self) -> bool:
        return self.attached and bool(self._output)

    @property
    def at_end(self) -> bool:
        """No input can come any more."""
        return False

    def send(self, data: bytes) -> None:
        self._output += data
        if self.attached:
            self._write_ready()
        if not self.attached and len(self._output) > BACKLOG:
            del self._output[:-BACKLOG]

    def pump(self) -> bool:
        if not self._input:
            return False
        taken = self._receive(self._input)
        self._input = self._input[taken:]
        self._rewatch()
        return taken > 0

    def _deliver(self, data: bytes) -> None:
        self._input = data[self._receive(data) :]
        self._rewatch()

    def _write_ready(self) -> None:
        while self._output and self.attached:
            written = self._write(bytes(self._output[:CHUNK]))
            if written == 0:
                break
            del self._output[:written]
        self._rewatch()

    def _write(self, data: bytes) -> int:
        """Writes without waiting; 0 when there is no room."""
        raise NotImplementedError

    def _rewatch(self) -> None:
        raise NotImplementedError


class Stdio(_Line):
    """Standard input and output. On a terminal: raw mode, and Ctrl-A as the escape key."""

    def __init__(
        self,
        poller: Poller,
        receive: Callable[[bytes], int],
        quit_: Callable[[], None],
        broken: Callable[[str], None],
        source: int = 0,
        sink: int = 1,
    ) -> None:
        super().__init__(poller, receive)
        self._quit = quit_
        self._broken = broken
        self._source, self._sink = source, sink
        self._writer, self._own_writer = _nonblocking(sink)
        self._escaped = False
        self._eof = False
        self._is_terminal = os.isatty(source)
        self.attached = True
        self._rewatch()

    @property
    def at_end(self) -> bool:
        return self._eof and not self._input

    def _rewatch(self) -> None:
        wants_input = not self._eof and not self._input
        self._poller.watch(self._source, read=self._read if wants_input else None)
        self._poller.watch(self._writer, write=self._write_ready if self._output and self.attached else None)

    def _read(self) -> None:
        try:
            data = os.read(self._source, CHUNK)
        except OSError:  # the terminal hung up
            data = b""
        if not data:
            self._eof = True
        self._deliver(self._unescape(data) if self._is_terminal else data)

    def _unescape(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if not self._escaped:
                self._escaped = byte == ESCAPE
                if not self._escaped:
                    out.append(byte)
                continue
            self._escaped = False
            if byte in b"xX":
                self._quit()
            elif byte == ESCAPE:
                out.append(byte)
            else:
                self.send(HELP)
        return bytes(out)

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._writer, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            self.attached = False
            self._broken(
                "nobody reads standard output" if error.errno == errno.EPIPE else f"standard output: {error.strerror}"
            )
            return 0

    def close(self) -> None:
        self._poller.forget(self._source)
        self._poller.forget(self._writer)
        if self._own_writer:
            os.close(self._writer)


def _nonblocking(fd: int) -> tuple[int, bool]:
    """A descriptor for the same output that does not wait, and whether it is a new one.

    O_NONBLOCK belongs to the open file, which standard output shares with other processes: so a terminal or pipe is
    opened anew, and a socket's duplicate is only as patient as its owner made it.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), True
    return fd, False


class RawMode:
    """A terminal in raw mode, as a context manager.

    A guard process puts the old mode back should this one be killed or crash, so a dead machine leaves a usable
    terminal behind whatever it died of.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._old = termios.tcgetattr(fd)
        self._guard = 0
        self._pipe = -1

    def __enter__(self) -> RawMode:
        self._start_guard()
        self._enter()
        # A stopped and continued job finds the shell's mode, not ours.
        signal.signal(signal.SIGCONT, self._continued)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        self._restore()
        with suppress(OSError):
            os.write(self._pipe, b"!")
        os.close(self._pipe)
        with suppress(ChildProcessError):
            os.waitpid(self._guard, 0)

    def _enter(self) -> None:
        mode = termios.tcgetattr(self._fd)
        mode[0] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR)
        mode[0] &= ~(termios.IGNCR | termios.ICRNL | termios.IXON)
        # Output processing stays: the guest's bare line feeds and our own messages remain readable.
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)

    def _restore(self) -> None:
        with suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._old)

    def _continued(self, number: int, frame: FrameType | None) -> None:
        with suppress(termios.error):
            self._enter()

    def _start_guard(self) -> None:
        read, self._pipe = os.pipe2(os.O_CLOEXEC)
        self._guard = os.fork()
        if self._guard:
            os.close(read)
            return
        try:  # the guard: no Python-level clean-up may run twice, so it leaves by _exit
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTOU):
                signal.signal(number, signal.SIG_IGN)
            os.close(self._pipe)
            for output in (1, 2):  # a pipe's reader must not wait for the guard
                os.dup2(self._fd, output)
            if os.read(read, 1) == b"":
                self._restore()
        finally:
            os._exit(0)


class Pty(_Line):
    """A pseudo-terminal; `path` is the side to attach to."""

    def __init__(self, poller: Poller, receive: Callable[[bytes], int]) -> None:
        super().__init__(poller, receive)
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        tty.setraw(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._probe = select.poll()
        self._probe.register(self._master, 0)
        poller.longest = PTY_PROBE_SECONDS

    def pump(self) -> bool:
        # While nobody has the other side open, poll(2) reports a hang-up at once and always: so it is not watched.
        attached = not self._probe.poll(0)
        if attached != self.attached:
            self.attached = attached
            self._rewatch()
        return super().pump()

    def _rewatch(self) -> None:
        read = self._read if self.attached and not self._input else None
        self._poller.watch(self._master, read=read, write=self._write_ready if self.waiting else None)

    def _read(self) -> None:
        try:
            data = os.read(self._master, CHUNK)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN):
                raise
            self.attached = False
            self._rewatch()
        else:
            self._deliver(data)

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._poller.forget(self._master)
        os.close(self._master)


class Listener:
    """A listening Unix socket whose file goes when it is closed."""

    def __init__(self, poller: Poller, path: Path, accepted: Callable[[socket.socket], None]) -> None:
        self._poller = poller
        self._path = path
        self._accepted = accepted
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._bind()
            self._socket.listen(8)
        except OSError as error:
            self._socket.close()
            reason = error.strerror or str(error)  # an overlong path has no errno
            raise TerminalError(f"cannot listen on unix:{path}: {reason}") from None
        self._inode = path.stat().st_ino
        poller.watch(self._socket.fileno(), read=self._accept)

    def _bind(self) -> None:
        try:
            self._socket.bind(str(self._path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._is_stale():
                raise
            self._path.unlink()
            self._socket.bind(str(self._path))

    def _is_stale(self) -> bool:
        """A socket file whose owner is dead: nobody listens."""
        if not self._path.is_socket():
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self._path)) == errno.ECONNREFUSED

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # the client is gone again
            return
        connection.setblocking(False)
        self._accepted(connection)

    def close(self) -> None:
        self._poller.forget(self._socket.fileno())
        self._socket.close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # else somebody else's by now
                self._path.unlink()


class Inherited:
    """A connected socket that whoever started this process left open: one client, from the start, and no file."""

    def __init__(self, fd: int, accepted: Callable[[socket.socket], None]) -> None:
        try:
            os.set_inheritable(fd, False)
            connection = socket.socket(fileno=fd)
            connection.getpeername()
        except OSError as error:
            raise TerminalError(f"fd:{fd} is not a connected socket: {error.strerror}") from None
        connection.setblocking(False)
        accepted(connection)

    def close(self) -> None:
        """The connection is its user's."""


def wait_for_clients(
    poller: Poller, where: Path | int, accepted: Callable[[socket.socket], None]
) -> Listener | Inherited:
    """Clients of a Unix socket at a path or, of a descriptor, the one that is there."""
    return Inherited(where, accepted) if isinstance(where, int) else Listener(poller, where, accepted)


class UnixLine(_Line):
    """A Unix socket, one client at a time."""

    def __init__(self, poller: Poller, receive: Callable[[bytes], int], where: Path | int) -> None:
        super().__init__(poller, receive)
        self._client: socket.socket | None = None
        self._listener = wait_for_clients(poller, where, self._accepted)

    def _accepted(self, connection: socket.socket) -> None:
        if self._client is not None:
            connection.close()
            return
        self._client = connection
        self.attached = True
        self._write_ready()

    def _rewatch(self) -> None:
        if self._client is not None:
            write = self._write_ready if self._output else None
            self._poller.watch(self._client.fileno(), read=None if self._input else self._read, write=write)

    def _read(self) -> None:
        assert self._client is not None  # noqa: S101  # only a client's descriptor is watched
        try:
            data = self._client.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._deliver(data)
        else:
            self._hang_up()

    def _write(self, data: bytes) -> int:
        if self._client is None:
            return 0
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._hang_up()
            return 0

    def _hang_up(self) -> None:
        if self._client is not None:
            self._poller.forget(self._client.fileno())
            self._client.close()
        self._client = None
        self.attached = False

    def close(self) -> None:
        self._hang_up()
        self._listener.close()


def print_error(text: str) -> None:
    """One line on standard error, on a line of its own even on a raw terminal."""
    if sys.stderr is None:  # closed before we started
        return
    with suppress(OSError):
        line = "".join(char if char.isprintable() else "?" for char in text)  # a file's name may be anything
        print(f"bringup: {line}", file=sys.stderr, flush=True)
