"""`python3 harness/system.py [test]`: are the system packages there that `make boot` (or `make test`) needs?

Runs before anything is installed, with the system's own interpreter, be it too old: standard library only. One line
on standard error names what is missing and how Debian and Fedora call it; the status is then 1.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SANITIZERS = ["-fsanitize=address,undefined", "-xc", "-", "-o", "/dev/null"]


def compiles(*flags: str, program: str = "#include <stdio.h>\nint main(void) { return 0; }\n") -> bool:
    """Does gcc, with these flags, take this program?"""
    return subprocess.run(["gcc", *flags], input=program.encode(), capture_output=True).returncode == 0


def missing(test: bool) -> list[tuple[str, str, str]]:
    """What is missing: (name, Debian packages, Fedora packages) of each."""
    gcc = shutil.which("gcc") is not None
    checks = [
        (sys.version_info >= (3, 11), "Python 3.11 or newer", "python3", "python3"),
        (gcc, "gcc", "gcc", "gcc"),
        (gcc and compiles("-fsyntax-only", "-xc", "-"), "C library headers", "libc6-dev", "glibc-devel"),
        (Path(sysconfig.get_path("include"), "Python.h").exists(), "Python headers", "python3-dev", "python3-devel"),
        (importlib.util.find_spec("ensurepip") is not None, "Python's venv", "python3-venv", "python3"),
    ]
    if test:
        checks.append((gcc and compiles(*SANITIZERS), "gcc's sanitizers", "gcc", "libasan libubsan"))
        qemu = shutil.which("qemu-system-x86_64") is not None  # the second VMM
        checks.append((qemu, "qemu-system-x86_64", "qemu-system-x86", "qemu-system-x86"))
    return [(name, debian, fedora) for there, name, debian, fedora in checks if not there]


def main() -> int:
    absent = missing(test="test" in sys.argv[1:])
    if absent:
        names, debian, fedora = (list(dict.fromkeys(column)) for column in zip(*absent))  # noqa: B905, each once, in order
        print(
            f"missing: {', '.join(names)}; Debian: apt-get install {' '.join(debian)}; "
            f"Fedora: dnf install {' '.join(fedora)}",
            file=sys.stderr,
        )
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
