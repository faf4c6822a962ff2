"""Whether the files that a user gave in place of media can be started at all: found out before any VMM is, so that no
VMM and no guest is blamed for them."""

from __future__ import annotations

from bringup.harness.machine.settings import Settings
from bringup.vmm.boot import BootError, BrokenError, protocol

from .store import MediaError


def check(settings: Settings) -> None:
    """MediaError: the kernel, its initrd or a module is nothing that any loader could start from. What only bringup's
    own loader does not take is the VMM's affair."""
    if settings.kernel is None:
        return
    initrd = settings.module_list or (str(settings.initrd) if settings.initrd is not None else None)
    try:
        protocol.recognise(settings.kernel, initrd, settings.append).image(settings.memory, settings.cpus)
    except BrokenError as error:
        raise MediaError(str(error)) from None
    except BootError:
        pass  # of this loader, or of this machine's memory
