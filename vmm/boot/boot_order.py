"""What firmware tries to start from, in which order: QEMU's letters, and the paths that SeaBIOS knows devices by.

Source: SeaBIOS, docs/Runtime_config ("bootorder"); Open Firmware, device paths.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..spec import Drive, SpecError
from ..storage import Kind

_KINDS = {"a": Kind.FLOPPY, "c": Kind.DISK, "d": Kind.CDROM}
_NETWORK = "n"
_NETWORK_PATH = "/pci@i0cf8/ethernet@3/ethernet-phy@0"
_FLOPPY_A = 4


def parse(text: str) -> str:
    """The letters of `order=acdn`: floppy, disk, CD-ROM, network."""
    key, equals, order = text.partition("=")
    if key != "order" or not equals:
        raise SpecError("not order=LETTERS")
    if not order or len(set(order)) < len(order) or set(order) - {*_KINDS, _NETWORK}:
        raise SpecError("not some of the letters a (floppy), c (disk), d (CD-ROM) and n (network), each once")
    return order


def paths(order: str, drives: Iterable[Drive]) -> list[str]:
    """Devices of each letter in turn, those of one kind by their places."""
    sorted_drives = sorted(drives, key=lambda drive: drive.number)
    found: list[str] = []
    for letter in order:
        if letter == _NETWORK:
            found.append(_NETWORK_PATH)
        else:
            found += [_path(drive.number) for drive in sorted_drives if drive.kind is _KINDS[letter]]
    return found


def _path(number: int) -> str:
    if number >= _FLOPPY_A:
        return f"/pci@i0cf8/isa@1/fdc@03f0/floppy@{number - _FLOPPY_A}"
    return f"/pci@i0cf8/ide@1,1/drive@{number // 2}/disk@{number % 2}"
