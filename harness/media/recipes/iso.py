"""`iso`: a CD of ISO 9660 with Rock Ridge names, which may be started from by El Torito.

Inputs: any; each is a file on the CD. Parameters:
- `<role>`: the path of that input's file, such as `boot/loader`; without it the file is called like its role
- `boot`: the role of the image that the firmware starts
- `emulation`: of the image that is started: `none` (the default; it is loaded whole) or `floppy`
- `boot-info-table`: `yes`: the image is told at its byte 8 where on the CD it lies, as isolinux wants it
- `label`: the volume's name
"""

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import pycdlib
from pycdlib import dates, headervd, utils
from pycdlib import pycdlib as main
from pycdlib.pycdlibexception import PyCdlibException

from bringup.harness.media.recipes import RecipeError, known

VERSION = 1
SECTOR = 512
"""Bytes of what El Torito calls a sector."""
MOST_LOADED = 0xFFFF * SECTOR
_PATH = re.compile(r"[A-Za-z0-9._-]{1,30}(/[A-Za-z0-9._-]{1,30}){0,7}")


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the CD."""
    known(parameters, "boot", "emulation", "boot-info-table", "label", *inputs)
    boot, emulation = parameters.get("boot"), parameters.get("emulation", "none")
    if boot is not None and boot not in inputs:
        raise RecipeError(f"boot: {boot!r} is none of the inputs {', '.join(inputs)}")
    if emulation not in ("none", "floppy"):
        raise RecipeError(f"emulation: {emulation!r} is not `none` or `floppy`")
    if parameters.get("boot-info-table", "yes") != "yes":
        raise RecipeError(f"boot-info-table: {parameters['boot-info-table']!r} is not `yes`")
    label = parameters.get("label", "BRINGUP")
    if not re.fullmatch(r"[A-Z0-9_]{1,32}", label):
        raise RecipeError(f"label: {label!r} is not of capitals, digits and `_`, 32 at most")
    with _still_clock():
        image = pycdlib.PyCdlib()
        image.new(interchange_level=3, rock_ridge="1.09", vol_ident=label)
        try:
            _fill(image, inputs, parameters, boot, emulation)
            image.write_fp(output)
        except PyCdlibException as error:
            raise RecipeError(" ".join(str(error).split())) from None
        finally:
            image.close()


def _fill(
    image: pycdlib.PyCdlib, inputs: Mapping[str, Path], parameters: Mapping[str, str], boot: str | None, emulation: str
) -> None:
    folders: set[str] = set()
    taken = {_iso_path("boot.cat", file=True): "the boot catalog"}
    for role, source in sorted(inputs.items()):
        path = parameters.get(role, role)
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise RecipeError(f"{role}: {path!r} is no path on a CD")
        *parents, name = path.split("/")
        for depth in range(1, len(parents) + 1):
            if (folder := "/".join(parents[:depth])) not in folders:
                image.add_directory(_iso_path(folder), rr_name=parents[depth - 1])
                folders.add(folder)
        at = _iso_path(path, file=True)
        if (owner := taken.setdefault(at, role)) != role:
            raise RecipeError(f"{role}: {path!r} is {at} on the CD, and so is {owner}")
        image.add_file(str(source), at, rr_name=name, file_mode=0o100444)
        if role == boot:
            size = source.stat().st_size
            if emulation == "none" and size > MOST_LOADED:
                raise RecipeError(f"boot: {role} has {size} bytes; no more than {MOST_LOADED} can be loaded")
            image.add_eltorito(
                at,
                bootcatfile="/BOOT.CAT;1",
                rr_bootcatname="boot.cat",
                boot_load_size=-(-size // SECTOR),
                media_name="floppy" if emulation == "floppy" else "noemul",
                boot_info_table="boot-info-table" in parameters,
            )


def _iso_path(path: str, file: bool = False) -> str:
    """As ISO 9660 writes it: capitals and no other signs than `_`; one dot and a version in a file's name."""
    *parents, name = path.upper().split("/")
    parts = [_plain(parent) for parent in parents]
    if file:
        stem, _, ending = name.rpartition(".") if "." in name else (name, "", "")
        parts.append(f"{_plain(stem)}.{_plain(ending)};1")
    else:
        parts.append(_plain(name))
    return "/" + "/".join(parts)


def _plain(text: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", text)


# ---- pycdlib stamps the time of day, in the machine's time zone, and cannot be told another ----


class _StillClock(ModuleType):
    """Stands for the module `time`."""

    strptime, strftime, gmtime, localtime = time.strptime, time.strftime, time.gmtime, time.gmtime

    @staticmethod
    def time() -> float:
        """1980-01-01, the first day of the PC's own file systems."""
        return 315532800.0


_lock = threading.Lock()


@contextmanager
def _still_clock() -> Iterator[None]:
    modules = (dates, headervd, utils, main)
    with _lock:
        for module in modules:
            setattr(module, "time", _StillClock("time"))  # noqa: B010, mypy knows better
        try:
            yield
        finally:
            for module in modules:
                setattr(module, "time", time)  # noqa: B010
