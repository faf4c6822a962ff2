"""Debian packages through the machine's apt client.

apt works in a folder of its own ($XDG_CACHE_HOME/bringup/apt/),
so that it needs no privileges, leaves the system's state alone and works where `apt-get update` never ran. The
archive's signed index states each package's sha256; apt checks the signature, and we check the sum once more.

BRINGUP_APT_SOURCES names a sources.list(5) file, `.list` or `.sources`, to use in place of the machine's own entries.
"""

import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from platform import freedesktop_os_release
from typing import Any

from bringup.harness.media.debian import sources
from bringup.harness.media.debian.package import STALE, Package
from bringup.harness.media.progress import Progress
from bringup.harness.media.store import (
    MediaError,
    MediaMissing,
    WrongContentError,
    disk_errors,
    file_sha256,
)

_UNSIGNED = re.compile(
    "not signed|NO_PUBKEY|EXPKEYSIG|REVKEYSIG|BADSIG|signatures? (?:was|were|couldn't be|is|are)"
    "|is expired|is not valid yet|clearsigned file isn't valid"
)
_WRONG = re.compile(rf"Hash Sum mismatch|unexpected size|{_UNSIGNED.pattern}")
"""apt's words for content that is there and is not what it should be."""

# What the machine's configuration may hold that does not belong here, and how strict we are.
_CONFIGURATION = """\
#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any"; // without it, an archive that cannot be reached is a warning
APT::Sandbox::User "root"; // as root: the user _apt could not write into our folder
"""


class AptArchive:
    """A Debian release for one architecture as apt sees it from a state folder of its own: an `Archive`."""

    def __init__(self, release: str, architecture: str, folder: Path, progress: Progress) -> None:
        self.release, self.architecture, self.folder = release, architecture, folder.absolute()
        self.progress = progress
        self._prepare()

    def update(self) -> None:
        """Fetches the index. A suite of updates whose index cannot be had, such as one that its mirror is changing
        just now, is done without, until the next time, and that is said; a wrong signature is an error."""
        command, what = ["apt-get", "update"], f"the index of Debian {self.release}"
        try:
            self._apt(command, what)
        except MediaError as error:
            entries = self._entries()
            alone = {name: text for name in entries if (text := sources.alone(entries[name], self.release))}
            if _UNSIGNED.search(str(error)) or not alone or alone == entries:
                raise
            self._write(alone)
            self._apt(command, what)
            self.progress.note(f"{error}; without its updates")
        self._stamp.touch()

    def is_stale(self) -> bool:
        """Is there no index, or an old one?"""
        return not self._stamp.exists() or not 0 <= time.time() - self._stamp.stat().st_mtime < STALE

    def package(self, name: str) -> Package:
        """The newest version of this package, or of the one that it stands for."""
        package = Package.parse(self._apt(["apt-cache", "show", "--no-all-versions", name], f"package {name}"))
        real = package.stands_for()
        return package if real is None else self.package(real)

    def download(self, package: Package, folder: Path) -> Path:
        """Downloads a package into an empty folder; WrongContentError when it is not what the index states."""
        what = str(package)
        self._apt(["apt-get", "download", f"{package.name}={package.version}"], what, folder)
        [path] = folder.glob("*.deb")
        with disk_errors(what):
            found = file_sha256(path)
        if found != package.sha256:
            raise WrongContentError(f"{what}: sha256 is {found}, not {package.sha256} as the archive's index states")
        return path

    @property
    def _stamp(self) -> Path:
        return self.folder / "updated"

    def _prepare(self) -> None:
        """Lays out the folder; other sources than last time make the index stale."""
        entries = _sources(self.release)
        with disk_errors(f"preparing {self.folder}"):
            for name in ("state/lists/partial", "cache/archives/partial", "sources", "empty"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / "status").touch()
            (self.folder / "apt.conf").write_text(_CONFIGURATION)
            if self._entries() != entries:
                self._write(entries)

    def _entries(self) -> dict[str, str]:
        """The source files that apt is told of: name to text."""
        return {path.name: path.read_text() for path in (self.folder / "sources").iterdir()}

    def _write(self, entries: Mapping[str, str]) -> None:
        self._stamp.unlink(missing_ok=True)
        for path in (self.folder / "sources").iterdir():
            path.unlink()
        for name, text in entries.items():
            (self.folder / "sources" / name).write_text(text)

    def _apt(self, command: Sequence[str], what: str, cwd: Path | None = None) -> str:
        """Runs one of apt's programs and returns its output; MediaError with apt's own first error."""
        options = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self.folder / "sources",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": self.folder / "empty",
            "APT::Architecture": self.architecture,
        }
        arguments = [f"--option={name}={value}" for name, value in options.items()]
        arguments.append(f"--config-file={self.folder / 'apt.conf'}")
        with disk_errors(what), tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            reading, writing = os.pipe()
            with os.fdopen(reading) as status:
                arguments.append(f"--option=APT::Status-Fd={writing}")
                try:
                    process = _start(
                        [command[0], *arguments, *command[1:]],
                        stdout=output,
                        stderr=errors,
                        pass_fds=[writing],
                        cwd=cwd,
                    )
                finally:
                    os.close(writing)
                with process:
                    for line in status:
                        if match := re.match(r"dlstatus:\d+:([0-9.]+):", line):
                            self.progress.update(what, float(match[1]))
            output.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                lines = errors.read().splitlines()
                reasons = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
                reason = " ".join((reasons or lines or ["apt failed"])[0].split())
                raise (WrongContentError if _WRONG.search(reason) else MediaMissing)(f"{what}: {reason}")
            return output.read()


def _start(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Starts one of the Debian tools, speaking English; MediaError when the system has it not."""
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"}, **options)
    except FileNotFoundError:
        raise MediaMissing(f"no {command[0]} on this system") from None


def _sources(release: str) -> dict[str, str]:
    """The source files for this release: name to text."""
    if named := os.environ.get("BRINGUP_APT_SOURCES"):
        with disk_errors("BRINGUP_APT_SOURCES"):
            return {f"named{Path(named).suffix}": Path(named).read_text()}
    query = ["apt-config", "shell", "list", "Dir::Etc::sourcelist/f", "parts", "Dir::Etc::sourceparts/d"]
    with _start(query, stdout=subprocess.PIPE) as process:
        answer = process.communicate()[0].decode()
    assigned = dict(word.partition("=")[::2] for word in shlex.split(answer))
    entries = {}
    with disk_errors("the machine's apt sources"):
        system = freedesktop_os_release()
        own = system.get("VERSION_CODENAME", "") if system.get("ID") == "debian" else ""
        parts = sorted(Path(assigned["parts"]).glob("*")) if "parts" in assigned else []
        for path in [Path(assigned.get("list", os.devnull)), *parts]:
            translate = {".list": sources.one_line, ".sources": sources.deb822}.get(path.suffix)
            if translate and path.is_file() and (text := translate(path.read_text(), own, release)):
                entries[path.name] = text
    if not entries:
        raise MediaMissing(
            f"no source of Debian {release} among this machine's apt sources; "
            "name a mirror by --mirror or BRINGUP_MIRROR, or a sources.list(5) file that has one in BRINGUP_APT_SOURCES"
        )
    return entries
