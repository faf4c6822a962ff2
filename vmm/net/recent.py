"""What a guest may have many of, within bounds."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most so many entries: a new one takes the place of that which was put in first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The entry, if it is there."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """In place of the key's entry, if it has one."""
        self.drop(key)
        if len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value

    def drop(self, key: K) -> None:
        """The entry, if it is there."""
        self._entries.pop(key, None)
