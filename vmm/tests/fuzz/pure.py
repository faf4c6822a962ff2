"""`python -m fuzz.pure TARGET RUNS`: a target in Python, so many inputs from a fixed seed, in bounded memory and time.
`python -m fuzz.pure TARGET OPTION...`: the same under Atheris, which takes libFuzzer's options."""

from __future__ import annotations

import importlib
import resource
import sys
from collections.abc import Callable

from .damage import MOST_INPUT, mutations

# Each target's function, and the packages that Atheris watches for coverage.
TARGETS = {
    "drives": ("media", ("bringup.vmm.storage",)),
    "identification": ("media", ("bringup.harness.identify", "bringup.vmm.storage")),
    "loaders": ("media", ("bringup.vmm.boot",)),
    "network": ("network", ("bringup.vmm.net",)),
}
MEMORY = 2 << 30
"""Address space, bytes; what the interpreter and its modules take is a quarter of it."""
SECONDS_AN_INPUT = 10


def load(name: str) -> Callable[[bytes], None]:
    module, _ = TARGETS[name]
    function: Callable[[bytes], None] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return function


def run(name: str, runs: int) -> None:
    """Stops at the first exception; the input that raised it is named."""
    target = load(name)
    for data in mutations(1, runs, []):
        used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        try:
            target(data)
        except BaseException:
            print(f"fuzz: {name} failed on {data.hex()}", file=sys.stderr)
            raise
        used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - used
        if used > SECONDS_AN_INPUT:
            raise SystemExit(f"fuzz: {name} took {used:.0f} seconds for {data.hex()}")


def main() -> None:
    name, *options = sys.argv[1:]
    if options and options[0].isdecimal():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        run(name, int(options[0]))
        return
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=list(TARGETS[name][1])):
        target = load(name)
    atheris.Setup([name, f"-max_len={MOST_INPUT}", f"-timeout={SECONDS_AN_INPUT}", *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
