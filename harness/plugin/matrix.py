"""Which guests on which VMMs: parameters with stable ids, in an order that ends soonest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import pytest

from bringup.guests import loader
from bringup.guests.definition import Guest
from bringup.harness.plugin import options
from bringup.harness.schedule.order import longest_first
from bringup.harness.vmms.loader import LoadedVmm, VmmError
from bringup.harness.vmms.loader import load as load_vmm

DEFAULT_TIER = 2
DEFAULT_VMM = "bringup"
BACKSTOP = 3600.0
"""Host seconds of one test."""
UNKNOWN = 600.0
"""Seconds that a test of a guest is taken to last of which nothing is known: it may be the longest."""


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Gives tests with our markers their guests and VMMs."""
    definition, config = metafunc.definition, metafunc.config
    chosen = definition.get_closest_marker("guests")
    for marker in filter(None, (chosen, definition.get_closest_marker("vmms"))):
        _check_marker(metafunc, marker)
    if chosen is not None:
        pairs = [
            (guest, vmm)
            for guest in guests(config, chosen.args, chosen.kwargs.get("tag"))
            for vmm in vmms(config)
        ]  # fmt: skip
        metafunc.parametrize(("guest", "vmm"), pairs, indirect=True, ids=[pair_id(*pair) for pair in pairs])
        repeats = options.get(config, "repeat")
        if repeats > 1:
            metafunc.fixturenames.append("_repeat")
            metafunc.parametrize("_repeat", range(repeats), ids=[f"{n + 1}of{repeats}" for n in range(repeats)])
    elif definition.get_closest_marker("vmms") is not None:
        metafunc.parametrize("vmm", found := vmms(config), indirect=True, ids=[vmm.name for vmm in found])


def _check_marker(metafunc: pytest.Metafunc, marker: pytest.Mark) -> None:
    """What a marker of ours does not know is a mistake."""
    known = {"guests": {"tag", "needs"}, "vmms": {"needs"}}[marker.name]
    wrong = [repr(name) for name in marker.kwargs if name not in known]
    wrong += [repr(name) for name in marker.args if marker.name == "vmms" or not isinstance(name, str)]
    if wrong:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: the marker `{marker.name}` takes no {wrong[0]}")


def pair_id(guest: Guest, vmm: LoadedVmm) -> str:
    """In the ids of tests; stable."""
    return f"{guest.name}-{vmm.name}"


def guests(config: pytest.Config, names: Sequence[str], tag: str | None) -> list[Guest]:
    """Those that the command line asks for, by name, by tier or by both, and of them those that the test is for. Guests
    that are synthetic or untried are asked for by name or by that tag."""
    wanted, tier = options.get(config, "guest") or (), options.get(config, "tier")
    tags = [*(options.get(config, "tag") or ()), *([tag] if tag else [])]
    try:
        found = [guest for name in wanted for guest in _named(name)]
        if tier or not wanted:
            found += [
                guest
                for guest in map(loader.load, loader.names())
                if guest.definition.tier <= (tier or DEFAULT_TIER) and guest.marks <= set(tags)
            ]
    except loader.GuestError as error:
        raise pytest.UsageError(f"--guest: {error}") from None
    return [
        guest
        for guest in {guest.name: guest for guest in found}.values()
        if guest.tags >= set(tags) and (not names or any(fnmatchcase(guest.name, name) for name in names))
    ]


def no_guest(config: pytest.Config) -> str:
    """Why the command line's tags choose none."""
    tags, wanted = options.get(config, "tag") or (), options.get(config, "guest")
    known = sorted({tag for name in loader.names() for tag in loader.load(name).tags})
    if unknown := [tag for tag in tags if tag not in known and not wanted]:
        return f"no guest has the tag {unknown[0]!r}; known are {', '.join(known)}"
    among = "of those that are asked for" if wanted else f"up to tier {options.get(config, 'tier') or DEFAULT_TIER}"
    return f"no guest {among} has {' and '.join(map(repr, tags))}"


def _named(name: str) -> list[Guest]:
    if any(char in name for char in "*?["):
        matching = [known for known in loader.names() if fnmatchcase(known, name)]
        if not matching:
            raise loader.GuestError(f"no guest matches {name!r}; known are {', '.join(loader.names())}")
        return [loader.load(known) for known in matching]
    return [loader.load(name)]


def vmms(config: pytest.Config) -> list[LoadedVmm]:
    """The VMMs that the command line asks for."""
    try:
        found = [load_vmm(name) for name in options.get(config, "vmm") or [DEFAULT_VMM]]
    except VmmError as error:
        raise pytest.UsageError(f"--vmm: {error}") from None
    return list({vmm.name: vmm for vmm in found}.values())


@dataclass(frozen=True)
class Subject:
    """What a test is about."""

    guest: Guest | None
    vmm: LoadedVmm
    test: str

    @property
    def kind(self) -> Literal["boot", "test"]:
        """Of the history."""
        return "boot" if self.test == "ladder" else "test"

    @property
    def history(self) -> str:
        """The key of its attempts: what harness/attempt.py calls them."""
        return "/".join((self.kind, self.guest.name if self.guest else "", self.test, self.vmm.name))


def subject(item: pytest.Item) -> Subject | None:
    """What the test is about; None for a test that is not ours."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not isinstance(callspec.params.get("vmm"), LoadedVmm):
        return None
    name = getattr(item, "originalname", item.name).removeprefix("test_")
    return Subject(callspec.params.get("guest"), callspec.params["vmm"], name)


def command(item: pytest.Item) -> list[str]:
    """The command that runs this test once more, from any folder: its guest and VMM are named, whatever had chosen
    them."""
    config, about = item.config, subject(item)
    words = ["pytest", f"{item.path}::{item.nodeid.partition('::')[2]}"]
    if about is not None:
        words += [f"--guest={about.guest.asked}"] if about.guest else []
        words.append(f"--vmm={about.vmm.asked}")
    if (repeats := options.get(config, "repeat")) > 1:
        words.append(f"--repeat={repeats}")  # without it there is no test of this id
    if (seed := options.get(config, "seed")) is not None:
        words.append(f"--seed={seed}")
    return words


def far_backstop(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives our tests the one limit that pytest-timeout keeps: far beyond what their own limits add up to."""
    if not config.pluginmanager.hasplugin("timeout"):
        return
    for item in items:
        if subject(item) is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(BACKSTOP))


def subjects(config: pytest.Config) -> tuple[list[str], list[str]]:
    """The parts of test ids that say what a test is about: guests on VMMs, and VMMs."""
    asked = vmms(config)
    pairs = [pair_id(guest, vmm) for guest in guests(config, (), None) for vmm in asked]
    return pairs, [vmm.name for vmm in asked]


def unit(item: pytest.Item) -> str:
    """What goes together because it shares a machine: the tests of a class, for each guest and VMM; those of a
    function without guests, for each VMM; else a test."""
    about, owner = subject(item), item.getparent(pytest.Class)
    if about is None or (owner is None and about.guest is not None):
        return item.nodeid
    path = owner.nodeid if owner else item.nodeid.partition("[")[0]
    return f"{path}[{about.guest.name if about.guest else ''} {about.vmm.name}]"


def without_subject(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out those of our tests for which there is no guest among those that are asked for."""
    empty = [item for item in items if options.is_ours(item) and subject(item) is None]
    if empty:
        items[:] = [item for item in items if item not in empty]
        config.hook.pytest_deselected(items=empty)


def ordered(items: list[pytest.Item], known: Mapping[str, float]) -> list[pytest.Item]:
    """Ours first, longest first; what shares a machine stays together."""
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(unit(item), []).append(item)

    def seconds(unit: str) -> float | None:
        """None: not ours."""
        about = [found for found in map(subject, units[unit]) if found is not None]
        return sum(known.get(found.history, UNKNOWN if found.guest else 0.0) for found in about) if about else None

    return [item for unit in longest_first(units, seconds) for item in units[unit]]
