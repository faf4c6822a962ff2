"""Programs of ours that speak like guests: each climbs the guest's ladder, and dies by its family's patterns."""

from __future__ import annotations

import shutil
from pathlib import Path

import pexpect
import pytest

from bringup.guests import loader
from bringup.guests.definition import SYNTHETIC, Limit
from bringup.guests.imitation import Dying
from bringup.harness.attempt import Attempt
from bringup.harness.console.deaths import GuestDied
from bringup.harness.limits import Scale
from bringup.harness.media.resolve import Media
from bringup.harness.media.store import Store
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.records.schema import End
from bringup.harness.records.writer import read_run
from bringup.harness.session import Session, create_run
from bringup.harness.vmms import loader as vmms

NAMES = loader.by_tag(SYNTHETIC)
SOON = Limit(guest=10.0)


def imitation(name: str) -> list[Dying]:
    found = loader.load(name).imitation
    assert found is not None
    return list(found.dying)


def attempt(folder: Path, name: str, vmm: str = "bringup") -> Attempt:
    session = Session(create_run(folder / "out"), command=("test",), scale=Scale())
    return Attempt(session, loader.load(name), vmms.load(vmm), Media(Store(folder / "store"), offline=True))


def test_there_is_one_for_each_family_without_media() -> None:
    spoken = {loader.load(found.imitation.imitates).family for found in map(loader.load, NAMES) if found.imitation}
    assert spoken >= {"freebsd", "netbsd", "openbsd", "haiku", "qnx", "illumos", "nt", "dos"}


@pytest.mark.parametrize(
    ("name", "dying"),
    [(name, dying) for name in NAMES for dying in imitation(name)],
    ids=lambda value: value if isinstance(value, str) else value.title,
)
def test_it_climbs_and_dies_by_its_name(tmp_path: Path, name: str, dying: Dying) -> None:
    with pytest.raises(GuestDied) as raised, attempt(tmp_path, name) as it:
        it.boot()
        it.climb()
        console = list(it.consoles.values())[-1]
        console.type(dying.typed)
        console.expect(pexpect.EOF, SOON)
    assert raised.value.title == dying.title
    assert (it.verdict.outcome, it.verdict.blame, it.verdict.title) == (Outcome.DIED, Blame.GUEST, dying.title)
    assert it.way.complete


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_one_on_qemu_is_labelled_as_what_it_is(tmp_path: Path) -> None:
    with attempt(tmp_path, "synthetic-freebsd", "qemu") as it:
        it.boot()
        it.climb()
    (end,) = (record for record in read_run(it.session.folder) if isinstance(record, End))
    assert (end.outcome, end.depth, end.of, end.labels) == (Outcome.PASSED, 5, 5, ("host-clock", "synthetic"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_never_taken_for_the_guest(name: str) -> None:
    guest = loader.load(name)
    assert guest.imitation is not None
    imitated = loader.load(guest.imitation.imitates)
    assert guest.family == SYNTHETIC != imitated.family
    assert guest.tags == {SYNTHETIC}
    assert guest.deaths == imitated.deaths
    assert [(rung.id, rung.text, rung.pattern) for rung in guest.ladder] == [
        (rung.id, rung.text, rung.pattern) for rung in imitated.ladder
    ]
    assert guest.definition.media.keys() == {"kernel"}
    assert name not in loader.by_tag("untried")
