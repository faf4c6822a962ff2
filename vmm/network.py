"""A machine's network card, and the door by which frames go to the network and come back (core/chipset/network.h)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .net.user import UserNetwork
from .spec import MIB, Nic, SpecError

FILES_MAXIMUM = 256 * MIB  # bytes of all that TFTP serves


class Network:
    """The network that the card of `nic` is plugged into; without a card (None) it does nothing."""

    def __init__(self, nic: Nic | None) -> None:
        self._nic = nic
        self._network = UserNetwork(_files(nic.tftp), nic.boot) if nic else None
        self._lib: Any = None
        self._machine: Any = None
        self._handle: Any = None

    def connect(self, config: Any, lib: Any, ffi: Any) -> None:
        """Fills in the card of a `struct machine_config`. Must live as long as the machine."""
        if self._nic is None:
            return
        self._lib, self._handle = lib, ffi.new_handle(self)
        config.mac = list(self._nic.mac)
        config.network = _door(lib, ffi)
        config.network_context = self._handle

    def plug_in(self, machine: Any) -> None:
        """The core's machine, which frames are for from now on; None: it is gone."""
        self._machine = machine

    def transmit(self, frame: bytes) -> None:
        """A frame of the guest's, and at once what answers it."""
        if self._network is None or self._machine is None:
            return
        for answer in self._network.receive(frame):
            self._lib.machine_network_arrive(self._machine, answer, len(answer))


def _files(folder: Path | None) -> dict[str, bytes]:
    """What TFTP serves: the folder's files as they are now, by name."""
    if folder is None:
        return {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        if sum(path.stat().st_size for path in paths) > FILES_MAXIMUM:
            raise SpecError(f"tftp={folder}: the files have more than {FILES_MAXIMUM // MIB}M")
        return {path.name: path.read_bytes() for path in paths}
    except OSError as error:
        raise SpecError(f"tftp={error.filename or folder}: {error.strerror}") from None


_doors: dict[int, Any] = {}


def _door(lib: Any, ffi: Any) -> Any:
    """The core's `extern "Python"` function, once for each core."""
    if id(lib) not in _doors:

        def machine_network_transmit(context: Any, frame: Any, size: int) -> None:
            network: Network = ffi.from_handle(context)
            network.transmit(bytes(ffi.buffer(frame, size)))

        ffi.def_extern()(machine_network_transmit)
        _doors[id(lib)] = lib.machine_network_transmit
    return _doors[id(lib)]
