"""Which tests there are (suite.toml), and where their images are."""

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bringup.harness.errors import HarnessError

VARIABLE = "BRINGUP_KVM_UNIT_TESTS"
ARCHITECTURES = ("x86_64", "i386")


class SuiteError(HarnessError):
    """Tests that cannot be run; the message is one line."""


@dataclass(frozen=True)
class UnitTest:
    """A row of suite.toml for one architecture. `seconds`: of host time, after which it counts as hung."""

    name: str
    architecture: str
    file: str
    memory: str
    append: str = ""
    cpus: int = 1
    cpu: str = "max"
    qemu: str = "max"
    clock: str = "virtual"
    environment: tuple[str, ...] = ()
    seconds: int = 60
    known: str = ""

    def image(self, folder: Path) -> Path:
        """Its kernel: ARCHITECTURE/FILE.flat below the folder that `make` and copying filled."""
        return folder / self.architecture / f"{self.file}.flat"

    @property
    def title(self) -> str:
        """`x86_64/smap`"""
        return f"{self.architecture}/{self.name}"


def tests(text: str | None = None) -> list[UnitTest]:
    """All tests, those of x86_64 first; `text` instead of suite.toml."""
    table = tomllib.loads(Path(__file__).with_name("suite.toml").read_text() if text is None else text)
    return [
        _test(name, architecture, table["defaults"] | row)
        for architecture in ARCHITECTURES
        for name, row in table["test"].items()
        if architecture in row.get("arch", ARCHITECTURES)
    ]


def _test(name: str, architecture: str, row: dict[str, Any]) -> UnitTest:
    known = {field.name for field in fields(UnitTest)} | {"arch"}
    if unknown := set(row) - known:
        raise SuiteError(f"suite.toml: test {name}: there is no key '{min(unknown)}'")
    values = {"file": name} | {key: value for key, value in row.items() if key != "arch"}
    values["environment"] = tuple(row.get("environment", ()))
    return UnitTest(name=name, architecture=architecture, **values)


def folder(given: Path | None = None) -> Path:
    """The folder with `x86_64/*.flat` and `i386/*.flat`: as given, or what BRINGUP_KVM_UNIT_TESTS names."""
    named = os.environ.get(VARIABLE)
    if given is None and not named:
        raise SuiteError(f"{VARIABLE} names no folder with kvm-unit-tests: x86_64/*.flat and i386/*.flat")
    path = given or Path(str(named))
    if not any((path / architecture).is_dir() for architecture in ARCHITECTURES):
        raise SuiteError(f"{path} has no folder x86_64 or i386 with kvm-unit-tests")
    return path
