"""The initrd of Linux guests: busybox, and an init script."""

from bringup.harness.media.cpio import CpioArchive
from bringup.harness.media.store import Medium, Provenance, Store, disk_errors


def build(busybox: bytes, init: bytes) -> bytes:
    """An uncompressed cpio archive whose /init is `init`, a script for the shell of `busybox` (a static program)."""
    archive = CpioArchive()
    archive.character_device("dev/console", 5, 1)  # process 1's standard streams, before init has mounted /dev
    archive.file("bin/busybox", busybox, 0o755)
    archive.file("init", init, 0o755)
    return archive.to_bytes()


def linux_initrd(busybox: Medium, init: Medium, store: Store) -> Medium:
    """The initrd in the store, made from this busybox and this init."""
    with disk_errors("reading busybox and init"):
        content = build(busybox.path.read_bytes(), init.path.read_bytes())
    origin = " and ".join(f"{part.provenance.name} of {part.provenance.origin}" for part in (init, busybox))
    licence = f"{init.provenance.licence} AND {busybox.provenance.licence}"
    return store.keep(content, Provenance("initrd.cpio", origin, licence))
