"""How directions do on images that they were not found on: HOME/transfers/<ab>.jsonl, by the directions' ids.

One JSON object a line, only ever appended to; of several lines of one direction the last counts.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from loco.errors import InputError
from loco.ids import check_id
from loco.ranges import RANGES, Range
from registry.files import checked, journal
from registry.files.journal import Journal
from registry.home import Home
from registry.records import Transfer, utc

NAME = "transfers.jsonl"
"""Their name in an export."""

_SHARE, _COUNT = Range(0, 1), Range(0, 2**31 - 1, whole=True)
_FINITE = Range(-1e100, 1e100)
_SIZE = Range(0, _FINITE.high)
_STRENGTH = Range(0, RANGES["strength"].high)

_RANGES = {
    "transfer": _SHARE,
    "transfer_low": _SHARE,
    "transfer_high": _SHARE,
    "transfer_gain": _SIZE,
    "transfer_leakage": _SIZE,
    "transfer_cosine": Range(-1.001, 1.001),  # it is rounded in single precision
    "transfer_range": _SIZE,
    "responding": _SHARE,
    "no_op": _SHARE,
    "strength": _STRENGTH,
    "strength_least": _STRENGTH,
    "strength_most": _STRENGTH,
}
"""Figure -> what it may be, where it was measured."""


def path_of(home: Home, direction_id: str) -> Path:
    """The file that tells of a direction; raises `InputError` for what is no id."""
    return home.transfers / f"{check_id(direction_id, 'direction')[:2]}.jsonl"


def append(home: Home, transfers: Iterable[Transfer]) -> None:
    """Write a line each; raises `InputError` for what cannot be kept, before anything is written, or `StorageError`."""
    by_path: dict[Path, list[Transfer]] = {}
    for one in transfers:
        by_path.setdefault(path_of(home, check(one).direction_id), []).append(one)
    for path, several in by_path.items():
        journal.append(path, journal.text(several))


def check(one: Transfer) -> Transfer:
    """What is told, if it can be kept; raises `InputError` otherwise."""
    check_id(one.direction_id, "direction")
    if one.run_id:
        check_id(one.run_id, "run")
    utc(one.at)
    if not 0 <= one.transfer_images < 2**31:
        raise InputError(f"transfer: expected a number of images, found {one.transfer_images}")
    for name, within in _RANGES.items():
        value = getattr(one, name)
        if value is not None:
            _number(name, value, within)
    _check_details(one.details)
    return one


def _number(name: str, value: Any, within: Range) -> None:
    if not within.holds(value):
        raise InputError(f"transfer: {name} must {within}, found {value!r:.80}")


def _listed(name: str, value: Any, within: Range, count: int | None = None) -> None:
    """Raise `InputError` unless it is a list of such numbers, of `count` where that is said."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        many = "" if count is None else f"{count} "
        raise InputError(f"transfer: {name} must be a list of {many}numbers, found {value!r:.80}")
    for one in value:
        _number(f"each of {name}", one, within)


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"transfer: {name} must be an object, found {value!r:.80}")
    return value


def _check_details(details: dict[str, Any]) -> None:
    """Raise `InputError` unless what is read of them is what `loco.measure.scores.carried` tells."""
    if "strengths" in details:
        _listed("details.strengths", details["strengths"], RANGES["strength"])
    if "suits" in details:
        _number("details.suits", details["suits"], _SHARE)
    if "absent" in details:
        _number("details.absent", details["absent"], _COUNT)
    for which, images in _table("details.examples", details.get("examples", {})).items():
        name = f"details.examples.{which:.40}"
        if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise InputError(f"transfer: {name} must be a list of images' ids, found {images!r:.80}")
    for figure, spread in _table("details.spread", details.get("spread", {})).items():
        name = f"details.spread.{figure:.40}"
        if _table(name, spread).get("interval") is not None:
            _listed(f"{name}.interval", spread["interval"], _FINITE, 2)
        if spread.get("quantiles") is not None:
            _listed(f"{name}.quantiles", spread["quantiles"], _FINITE)
            histogram = _table(f"{name}.histogram", spread.get("histogram"))
            for end in ("low", "high"):
                _number(f"{name}.histogram.{end}", histogram.get(end), _FINITE)
            _listed(f"{name}.histogram.counts", histogram.get("counts"), _COUNT)


def files(home: Home) -> list[Path]:
    """All files that tell of directions."""
    return sorted(home.transfers.glob("??.jsonl"))


def journal_at(path: Path) -> Journal[Transfer]:
    """The journal in such a file."""
    return Journal(path, parse)


def told(home: Home) -> Iterator[Transfer]:
    """What all files tell, the last of each direction; lines that say nothing are passed over."""
    for path in files(home):
        yield from {one.direction_id: one for one in journal_at(path).read()}.values()


def parse(line: bytes) -> Transfer:
    """What a line tells, checked as if it came from anywhere; raises `Unfit`."""
    one = checked.parse(Transfer, line, most=checked.LONGEST)
    try:
        return check(one)
    except InputError as error:
        raise checked.Unfit(str(error)) from error
