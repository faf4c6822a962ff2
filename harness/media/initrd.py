"""The initrd of Linux guests: busybox, and the init script that the guest family brings."""

from importlib import resources

from bringup.harness.media.cpio import CpioArchive
from bringup.harness.media.store import Medium, Provenance, Store, disk_errors


def build(busybox: bytes, init: bytes) -> bytes:
    """An uncompressed cpio archive whose /init is `init`, a script for the shell of `busybox` (a static program)."""
    archive = CpioArchive()
    archive.character_device("dev/console", 5, 1)  # process 1's standard streams, before init has mounted /dev
    archive.file("bin/busybox", busybox, 0o755)
    archive.file("init", init, 0o755)
    return archive.to_bytes()


def linux_initrd(busybox: Medium, store: Store) -> Medium:
    """The initrd in the store, made from this busybox and guests/linux/init."""
    init = (resources.files("bringup.guests") / "linux" / "init").read_bytes()
    with disk_errors("reading busybox"):
        content = build(busybox.path.read_bytes(), init)
    origin = f"guests/linux/init and {busybox.provenance.name} of {busybox.provenance.origin}"
    return store.keep(content, Provenance("initrd.cpio", origin, f"Apache-2.0 AND {busybox.provenance.licence}"))
