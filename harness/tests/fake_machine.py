"""A stand-in for `bringup run --turns`: speaks docs/turns.md and answers like a shell; FAKE says what goes wrong."""

import os
import socket
import struct
import sys
from collections.abc import Iterator

IDLE, OUTPUT, EVENT, LIMIT, HALTED = range(5)
POWER_OFF, TRIPLE_FAULT = 1, 3
ANSWERS = {
    b"uname -a": b"Linux (none) 6.1.0 x86_64 GNU/Linux\r\n",
    b"cat /proc/cpuinfo": b"model name\t: fake\r\nbogomips\t: 2000.00\r\n",
}
PROMPT = b"bringup# \x1b[6n"


class Machine:
    """Counts 1000 instructions and as many nanoseconds a turn."""

    def __init__(self, fd: int, mode: str) -> None:
        self.connection = socket.socket(fileno=fd)
        self.count = os.getpid() if mode == "drifts" else 0
        self.mode = mode
        self.screen = b"C:\\>"
        features = struct.pack("<I", 1) if mode.startswith(("screen", "keys")) else b""
        self.frame(struct.pack("<cHBBQQ", b"H", 1, 4, 5, 0, 0) + features)

    def frame(self, body: bytes) -> None:
        self.connection.sendall(struct.pack("<I", len(body)) + body)

    def read(self, size: int) -> bytes:
        try:
            data = self.connection.recv(size, socket.MSG_WAITALL)
        except ConnectionResetError:
            data = b""
        if len(data) < size:
            sys.exit(129)
        return data

    def request(self) -> tuple[int, bytes]:
        """The next request's guest nanoseconds and its input for COM1."""
        while True:
            (size,) = struct.unpack("<I", self.read(4))
            body = self.read(size)
            if body[:1] == b"R":
                break
            self.frame(self.show() if body == b"S" else self.press(body))
        _, _, limit, *sizes = struct.unpack_from("<cQQ4I", body)
        start = struct.calcsize("<cQQ4I")
        return limit, body[start : start + sizes[0]]

    def show(self) -> bytes:
        """The answer to a request for the screen: a line of it."""
        if self.mode == "screen-wrong":
            return b"x"
        if self.mode == "screen-short":
            return b"s123"
        head = struct.pack("<BBHHHHBBBB", 1, 4, 80, 25, 0, len(self.screen), 13, 14, 9, 16) + bytes(48)
        return b"s" + head + b"".join(bytes([char, 7]) for char in self.screen.ljust(80 * 25))

    def press(self, body: bytes) -> bytes:
        """The answer to keys: two at most, each typed when it goes down."""
        assert body[:1] == b"K"
        if self.mode == "keys-wrong":
            return b"k"
        events = struct.unpack(f"<{len(body) // 4}I", body[1:])
        for event in events[:2]:
            if event & 0x100:
                self.screen += {0x1E: b"a", 0x30: b"b", 0x2E: b"c"}.get(event & 0xFF, b"")
        return b"k" + struct.pack("<I", min(len(events), 2))

    def answer(
        self, reason: int, output: bytes, event: int = 0, status: int = -1, taken: int = 0, step: int = 1000
    ) -> None:
        self.count += step
        head = struct.pack("<cBBhIQQ", b"A", reason, event, status, 0, self.count, self.count)
        sizes = struct.pack("<4I5I", taken, 0, 0, 0, len(output), 0, 0, 0, 0)
        counts = struct.pack(f"<{len(output)}Q", *[self.count] * len(output))
        if status >= 0 and self.mode.startswith("screen"):
            self.screen = b"the end"
            self.frame(self.show())
        words = {POWER_OFF: b"power-off", TRIPLE_FAULT: b"triple fault"}.get(event, b"")
        self.frame(head + sizes + output + counts + words)


def pieces(mode: str) -> Iterator[bytes]:
    """What the guest says before its shell reads."""
    yield b"[    0.000000] Linux ver"
    yield b"sion 6.1.0\r\n"
    if mode.endswith("falls"):
        return
    yield b"bringup: init\r\n"
    if mode == "panics":
        yield b"[    0.5] Kernel panic - not syncing: oh no\r\n[    0.6] CPU: 0"
    yield PROMPT


def main() -> None:
    mode = os.environ.get("FAKE", "")
    if mode == "refuses":
        print("bringup run: --kernel: not a bzImage", file=sys.stderr)
        sys.exit(2)
    if "--version" in sys.argv:
        print("fake 1")
        sys.exit()
    [fd] = [word.removeprefix("--turns=fd:") for word in sys.argv if word.startswith("--turns=fd:")]
    machine = Machine(int(fd), mode)
    if mode == "stalls":
        machine.request()
        machine.read(1)  # until its driver is gone
    if mode == "garbage":
        machine.request()
        machine.frame(b"what?")
        machine.read(1)
    for piece in pieces(mode):
        machine.request()
        machine.answer(OUTPUT, piece)
    if mode.endswith("falls"):
        machine.request()
        machine.answer(EVENT, b"", TRIPLE_FAULT, 11)
        sys.exit(11)
    line = b""
    while True:
        limit, typed = machine.request()
        if mode == "vanishes":
            os.kill(os.getpid(), 9)
        if mode == "floods":
            machine.answer(OUTPUT, b"all work and no play\r\n" * 3000)
            continue
        if mode == "halts":
            machine.answer(HALTED, b"")
            continue
        if mode == "spins" or not typed:
            machine.answer(LIMIT, b"", step=limit)
            continue
        taken = typed[:3]  # a UART's queue is not endless
        line += taken
        if not line.endswith(b"\n"):
            machine.answer(IDLE, taken.replace(b"\n", b"\r\n"), taken=len(taken))
            continue
        command, line, echo = line[:-1], b"", taken.replace(b"\n", b"\r\n")
        if command == b"poweroff -f" and mode != "deaf":
            machine.answer(EVENT, echo + b"[    1.0] reboot: Power down\r\n", POWER_OFF, 0, taken=len(taken))
            sys.exit()
        machine.answer(IDLE, echo + ANSWERS.get(command, b"?\r\n") + PROMPT, taken=len(taken))


main()
