"""The claims of the method's paper, one by one: what was measured of each, and yes or no against bars set beforehand.

Each is a question with a figure. Figures are measured image by image (`loco.evaluation.claimed`); here they become
medians and shares with intervals over images. Where a claim speaks of levels or points of its own, it is asked there,
and what is found at this model's own level stands beside it without a bar.

Reference: LOCO Edit (Chen et al., 2024), Sections 3 to 5 and C, arXiv 2409.02374.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loco.errors import InputError
from loco.evaluation.protocol import COSINE, COUNT, FACTOR, FILE, SHARE, STRENGTH, number, tables
from loco.evaluation.table import Row, Share, over_images
from loco.measure.bootstrap import Statistic
from loco.ranges import RANGES, Range


@dataclass(frozen=True)
class Bars:
    """Sizes and bars; `[claims]` of `protocol.toml` says what each is."""

    images: int
    dense: int
    levels: tuple[float, ...]
    null_ranks: tuple[int, ...]
    strength: float
    range: float
    across: float
    rank_ratio: float
    cosine: float
    norm_ratio: float
    null_needed: float
    null_enough: float
    linear_pixels: float
    linear_meaning: float
    smooth: float
    meaning: float
    preserved: float
    composed_pixels: float
    composed_meaning: float
    transfer: float
    level_transfer: float
    absent: float

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(self).items()}


_RANGES = {
    "images": COUNT,
    "dense": Range(0, COUNT.high, whole=True),
    "levels": Range(0, 1, open_low=True, open_high=True),
    "null_ranks": RANGES["null_rank"],
    "strength": STRENGTH,
    "range": Range(0, 1000, open_low=True),
    "across": Range(0, 1000, open_low=True),
    "rank_ratio": SHARE,
    "cosine": COSINE,
    "norm_ratio": FACTOR,
    "null_needed": FACTOR,
    "null_enough": FACTOR,
    "linear_pixels": COSINE,
    "linear_meaning": COSINE,
    "smooth": SHARE,
    "meaning": FACTOR,
    "preserved": FACTOR,
    "composed_pixels": FACTOR,
    "composed_meaning": COSINE,
    "transfer": SHARE,
    "level_transfer": SHARE,
    "absent": SHARE,
}
"""What each value may be; of `_LISTS` each number."""

_LISTS = ("levels", "null_ranks")


def quick(bars: Bars) -> Bars:
    """Those of `--quick`: one image, one level, two null ranks, and no whole Jacobian."""
    return replace(bars, images=1, dense=0, levels=bars.levels[:1], null_ranks=(*bars.null_ranks[:1], 5))


def read_bars(path: Path = FILE) -> Bars:
    """The section `[claims]` of a protocol; raises `InputError` for one that lacks something or has more, and
    for any value that is not within its range.
    """
    found = tables(path).get("claims", {})
    if not isinstance(found, dict):
        raise InputError(f"protocol {path}: expected the section claims, found claims = {found!r:.80}")
    if set(found) != set(_RANGES):
        wrong = ", ".join(sorted(set(found) ^ set(_RANGES)))
        raise InputError(f"protocol {path}, section claims: missing or unknown: {wrong:.200}")
    values: dict[str, Any] = {}
    for name, within in _RANGES.items():
        value = found[name]
        if name not in _LISTS:
            values[name] = number(path, "claims", name, value, within)
        elif isinstance(value, list) and value:
            values[name] = tuple(number(path, "claims", f"each of {name}", one, within) for one in value)
        else:
            raise InputError(
                f"protocol {path}, section claims: {name} must be a list of numbers, found {value!r:.80}"
            )
    return Bars(**values)


@dataclass(frozen=True)
class Question:
    """One figure of a claim.

    Attributes:
        claim: What the paper says.
        text: What is measured.
        figure: Its name in the rows, and of its bar.
        statistic: Over images.
        most: Whether the bar is the most that it may be.
    """

    claim: str
    text: str
    figure: str
    statistic: Statistic = "median"
    most: bool = False


LOW_RANK = "the Jacobian of the posterior mean has a low rank"
LINEAR = "the posterior mean is locally linear"
NEEDED = "projecting off the null space is needed"
ENOUGH = "r' = 5 is enough"
RANGE = "edits are linear over their range"
COMPOSE = "directions compose"
IMAGES = "directions transfer to other images"
LEVELS = "directions transfer to other noise levels"
ABSENT = "an image without the feature is not edited"

QUESTIONS = (
    Question(LOW_RANK, "numerical rank over size", "rank_ratio", most=True),
    Question(LINEAR, "cosine of f(x + l v) to f(x) + l J v", "cosine"),
    Question(LINEAR, "distance of the ratio of their norms from 1", "norm_ratio", most=True),
    Question(LINEAR, "cosine of f(x + l v) - f(x) to l J v", "cosine_of_changes"),
    Question(NEEDED, "leakage with r' = 5 over that with none", "null_needed", most=True),
    Question(ENOUGH, "leakage with r' = 10 over that with 5", "null_enough"),
    Question(RANGE, "R^2 of pixels against strength", "linear_pixels"),
    Question(RANGE, "R^2 of the reading that moves most", "linear_meaning"),
    Question(RANGE, "net movement of that reading over its way", "smooth"),
    Question(RANGE, "its movement at the lesser end, in sd", "meaning"),
    Question(RANGE, "RMS distance at strength 0", "preserved", most=True),
    Question(COMPOSE, "||both - sum|| / ||sum||, pixels", "composed_pixels", most=True),
    Question(COMPOSE, "cosine of readings, both to sum", "composed_meaning"),
    Question(IMAGES, "share of other images that change alike", "transfer", "mean"),
    Question(LEVELS, "share of edits that change alike", "level_transfer", "mean"),
    Question(ABSENT, "share of images that respond", "absent", "mean", most=True),
)


@dataclass(frozen=True)
class Answer:
    """A figure of a claim at one setting.

    Attributes:
        question: What was asked.
        setting: Where: a level, a pair of ranks.
        found: The figure with its interval.
        bar: What it is read against; None where it stands beside the claim.
    """

    question: Question
    setting: str
    found: Share
    bar: float | None

    @property
    def holds(self) -> bool | None:
        """Whether the figure is on the right side of its bar; None without a bar or a figure."""
        return self._beyond(self.found.value)

    @property
    def certain(self) -> bool | None:
        """Whether its whole interval is on the same side."""
        sides = {self._beyond(one) for one in (self.found.value, self.found.low, self.found.high)}
        return None if None in sides else len(sides) == 1

    def _beyond(self, value: float) -> bool | None:
        if self.bar is None or math.isnan(value):
            return None
        return value <= self.bar if self.question.most else value >= self.bar

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        question = self.question
        return {
            "claim": question.claim,
            "what": question.text,
            "figure": question.figure,
            "setting": self.setting,
            "bar": self.bar,
            "sense": "at most" if question.most else "at least",
            **self.found.plain(),
            "holds": self.holds,
            "certain": self.certain,
        }


def answers(rows: Sequence[Row], bars: Bars) -> list[Answer]:
    """One answer for each figure and setting that was measured, in the order of `QUESTIONS`.

    Rows have `figure`, `setting`, `image`, `value` and `asked`: whether the claim speaks of that setting.
    """
    found = []
    for question in QUESTIONS:
        mine = [row for row in rows if row["figure"] == question.figure]
        for setting in dict.fromkeys(str(row["setting"]) for row in mine):
            some = [row for row in mine if row["setting"] == setting]
            bar = getattr(bars, question.figure, None) if some[0]["asked"] else None
            found.append(Answer(question, setting, over_images(some, "value", question.statistic), bar))
    return found


def verdict(claim: str, found: Sequence[Answer]) -> bool | None:
    """Whether all that was asked of a claim holds; None where nothing could be."""
    known = [one.holds for one in found if one.question.claim == claim and one.holds is not None]
    return all(known) if known else None
