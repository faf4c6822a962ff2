"""The screen and the keyboard of a VMM in host time that has QEMU's monitor: the VGA is read through it.

Text memory is read by `xp`, which sees what the processor would at B8000h, and the registers that say which part of it
is shown by `i` (an index is written, so the machine is stopped meanwhile and the index put back: the guest notices
nothing). Keys go by QMP's `send-key`, which spaces them itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bringup.vmm.screen.keys import Stroke
from bringup.vmm.screen.text import Mode, TextScreen

from .qmp import Qmp, QmpError

CRTC_COLOUR, GRAPHICS, SEQUENCER, MISC = 0x3D4, 0x3CE, 0x3C4, 0x3CC
CELL = 2
WINDOWS = {2: (0xB0000, 0x8000), 3: (0xB8000, 0x8000)}
"""Of the graphics controller's memory map, the two that text modes use: first address, bytes."""
ANSWER_SECONDS = 30.0
"""Host seconds that the monitor may take for one command."""

_PORT = re.compile(r"portb\[0x[0-9a-f]+\] = 0x([0-9a-f]+)")
_DUMP = re.compile(r"^[0-9a-f]+:((?: 0x[0-9a-f]{4})+)", re.MULTILINE)


class MonitorScreen:
    """Of one machine."""

    def __init__(self, qmp: Qmp) -> None:
        self._qmp = qmp

    def sample(self) -> TextScreen:
        """What the VGA shows now. QmpError: the VMM does not tell."""
        running = self._execute("query-status")["running"]
        if running:
            self._execute("stop")
        try:
            return self._look()
        finally:
            if running:
                self._execute("cont")

    def press(self, strokes: Sequence[Stroke], hold: int) -> None:
        """Presses keys, one stroke after the other, each held so many milliseconds."""
        for stroke in strokes:
            names = [{"type": "qcode", "data": name} for name in stroke]
            self._qmp.execute("send-key", {"keys": names, "hold-time": hold}, seconds=ANSWER_SECONDS)

    def _look(self) -> TextScreen:
        if not self._port(MISC) & 1:
            return TextScreen()  # a monochrome text mode, or none yet
        with _Index(self, GRAPHICS) as graphics:
            miscellaneous = graphics.read(6)
        with _Index(self, SEQUENCER) as sequencer:
            clocking = sequencer.read(1)
        with _Index(self, CRTC_COLOUR) as crtc:
            registers = {index: crtc.read(index) for index in (1, 7, 9, 10, 11, 12, 13, 14, 15, 0x12, 0x13, 0x17)}
        window = WINDOWS.get(miscellaneous >> 2 & 3)
        if not registers[0x17] & 0x80:
            return TextScreen()
        if miscellaneous & 1 or window is None:
            return TextScreen(Mode.GRAPHICS)
        return self._text(registers, window, 8 if clocking & 1 else 9, bool(clocking & 0x20))

    def _text(self, crtc: dict[int, int], window: tuple[int, int], width: int, blank: bool) -> TextScreen:
        height = (crtc[9] & 31) + 1
        lines = (crtc[0x12] | (crtc[7] >> 1 & 1) << 8 | (crtc[7] >> 6 & 1) << 9) + 1
        columns, rows = crtc[1] + 1, lines // (height << (crtc[9] >> 7))
        start, pitch = crtc[12] << 8 | crtc[13], 2 * crtc[0x13]
        shown = self._memory(window, CELL * start, CELL * (pitch * (rows - 1) + columns)) if rows else b""
        cells = b"".join(shown[CELL * row * pitch :][: CELL * columns] for row in range(rows))
        row, column = divmod((crtc[14] << 8 | crtc[15]) - start & 0xFFFF, pitch or 1)
        seen = not crtc[10] & 0x20 and row < rows and column < columns
        return TextScreen(
            Mode.TEXT,
            columns,
            rows,
            cells,
            cursor=(row, column) if seen else None,
            cursor_lines=(crtc[10] & 31, min(crtc[11] & 31, height - 1)),
            width=width,
            height=height,
            blank=blank,
        )

    def _memory(self, window: tuple[int, int], offset: int, size: int) -> bytes:
        """Bytes of text memory, which begins again behind its end."""
        base, most = window
        found = b""
        while len(found) < size:
            at = (offset + len(found)) % most
            found += self._dump(base + at, min(size - len(found), most - at))
        return found

    def _dump(self, address: int, size: int) -> bytes:
        answer = self._monitor(f"xp /{size // CELL}xh {address:#x}")
        halves = [int(half, 16) for line in _DUMP.findall(answer) for half in line.split()]
        if len(halves) != size // CELL:
            raise QmpError(f"xp: {len(halves)} cells of {size // CELL}: {answer[:80]!r}")
        return b"".join(half.to_bytes(CELL, "little") for half in halves)

    def _port(self, port: int, index: int | None = None) -> int:
        answer = self._monitor(f"i /b {port:#x}" + ("" if index is None else f".{index:#x}"))
        found = _PORT.search(answer)
        if found is None:
            raise QmpError(f"i: {answer[:80]!r}")
        return int(found[1], 16)

    def _set_port(self, port: int, value: int) -> None:
        self._monitor(f"o /b {port:#x} {value:#x}")

    def _monitor(self, line: str) -> str:
        return str(self._qmp.execute("human-monitor-command", {"command-line": line}, seconds=ANSWER_SECONDS))

    def _execute(self, command: str) -> dict[str, object]:
        answer = self._qmp.execute(command, seconds=ANSWER_SECONDS)
        return answer if isinstance(answer, dict) else {}


class _Index:
    """Registers behind an index, which is put back."""

    def __init__(self, screen: MonitorScreen, port: int) -> None:
        self._screen, self._at = screen, port
        self._before = 0

    def __enter__(self) -> _Index:
        self._before = self._screen._port(self._at)
        return self

    def __exit__(self, *_: object) -> None:
        self._screen._set_port(self._at, self._before)

    def read(self, index: int) -> int:
        return self._screen._port(self._at, index)
