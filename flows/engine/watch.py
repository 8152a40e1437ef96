"""Who follows a run, and what they are told."""

from typing import Protocol


class Watch(Protocol):
    """Somebody who follows a run."""

    def total(self, items: int) -> None:
        """The number of items that the run will work on."""

    def advance(self, items: int = 1) -> None:
        """So many more items are finished, failed ones included."""

    def say(self, text: str) -> None:
        """A line for people: what starts, what was skipped, what failed."""


class Silence:
    """A `Watch` that tells nobody."""

    def total(self, items: int) -> None:
        """Ignore it."""

    def advance(self, items: int = 1) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""
