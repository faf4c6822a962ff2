"""What guests say when they die: `deaths/<family>.toml` has stories, and what each family is to make of them.

A story's `title` is what ends it, by the line that it ends at; without one nothing does. `notes` are what is noted
before that. A last line without a line end is one that still grows: it may end a guest, such as a debugger's prompt,
but is not noted.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bringup.guests import loader

CORPUS = Path(__file__).with_name("deaths")


class Story(NamedTuple):
    """One of a family."""

    family: str
    text: str
    title: str | None = None
    notes: tuple[str, ...] = ()


def stories() -> list[Story]:
    found = []
    for path in sorted(CORPUS.iterdir()):
        each: list[dict[str, Any]] = tomllib.loads(path.read_text())["story"]
        found += [Story(path.stem, one["text"], one.get("title"), tuple(one.get("notes", ()))) for one in each]
    return found


STORIES = stories()


def told(family: str, text: str) -> tuple[str | None, tuple[str, ...]]:
    """What ends the story, and what is noted before, by the family's patterns: in each line the first that matches."""
    notes: list[str] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        for death in loader.family(family).death:
            if match := re.search(death.pattern, line):
                title = death.title_of(match.groups())
                if death.ends:
                    return title, tuple(notes)
                if number < len(lines):
                    notes.append(title)
                break
    return None, tuple(notes)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.family}: {story.title or 'lives'}")
def test_a_story(story: Story) -> None:
    assert told(story.family, story.text) == (story.title, story.notes)


@pytest.mark.parametrize("family", loader.families())
def test_every_pattern_has_its_story(family: str) -> None:
    """A pattern that nobody tries may never match; one that comes too late, after a more general one, never does."""
    lines = [line for story in STORIES if story.family == family for line in story.text.split("\n")]
    firsts = [
        next((index for index, death in enumerate(loader.family(family).death) if re.search(death.pattern, line)), None)
        for line in lines
    ]
    untried = [death.title for index, death in enumerate(loader.family(family).death) if index not in firsts]
    assert untried == []


@pytest.mark.parametrize("family", sorted({story.family for story in STORIES}))
def test_a_family_has_stories_of_life_and_of_death(family: str) -> None:
    titles = [story.title for story in STORIES if story.family == family]
    assert None in titles
    assert any(titles)


def test_titles_begin_with_the_system() -> None:
    """So that they are told apart where the faults of all guests are in one list."""
    for family in loader.families():
        about = loader.family(family)
        allowed = {about.title, *ALSO.get(family, ())}
        for death in about.death:
            assert death.title.split(": ")[0] in allowed, death.title


ALSO = {"bios": ["iPXE"], "hurd": ["GNU Mach"], "nt": ["Windows"], "dos": ["FreeDOS"]}
"""Systems of a family that is called otherwise."""


def test_addresses_do_not_make_another_title() -> None:
    one, other = (
        told("plan9", f"panic: fault at pc={address} in 0x7B steps")[0]
        for address in ("0xf0112c3a", "0xffffffff80112c3a")
    )
    assert one == other == "Plan 9: panic: fault at pc=0x... in 0x7B steps"
