"""Processors in VMX operation; rootmode.py is the code that drives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from rootmode import Root


@pytest.fixture
def make() -> Iterator[Callable[..., Root]]:
    """Makes processors; they go with the test."""
    roots: list[Root] = []

    def one(model: str = "max") -> Root:
        roots.append(Root(model))
        return roots[-1]

    yield one
    for root in roots:
        root.close()


@pytest.fixture
def root(make: Callable[..., Root]) -> Root:
    return make()
