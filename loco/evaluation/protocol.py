"""What an evaluation is told before it runs."""

import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loco.errors import InputError
from loco.outside import read_text
from loco.ranges import RANGES, Range

FILE = Path(__file__).with_name("protocol.toml")

QUICK = {"sources": 2, "held_out": 6, "rank": 1, "steps": 3}
"""Sizes of `--quick`: everything runs, nothing is shown."""

COUNT = Range(1, 1_000_000, whole=True)
SHARE, COSINE, FACTOR = Range(0, 1), Range(-1, 1), Range(0, 1000)
CHANGE = Range(0, 2, open_low=True)
"""RMS, of pixels in [-1, 1]."""
STRENGTH = Range(0, RANGES["strength"].high, open_low=True)

SECTIONS = {
    "sizes": {
        "sources": COUNT,
        "held_out": COUNT,
        "rank": RANGES["rank"],
        "null_rank": RANGES["null_rank"],
        "steps": RANGES["steps"],
        "target": CHANGE,
        "longest": STRENGTH,
    },
    "edit": {"leakage": FACTOR},
    "transfer": {"cosine": COSINE, "reached": FACTOR},
    "verdicts": {
        "edit_success": SHARE,
        "transfer_success": SHARE,
        "transfer_low": SHARE,
        "ssim_outside": COSINE,
        "psnr_outside": FACTOR,
        "small": SHARE,
        "standard_errors": FACTOR,
    },
}
"""Section -> key -> what its value may be."""


@dataclass(frozen=True)
class Protocol:
    """Sizes and bars; `protocol.toml` says what each is."""

    sources: int
    held_out: int
    rank: int
    null_rank: int
    steps: int
    target: float
    longest: float
    edit_leakage: float
    transfer_cosine: float
    transfer_reached: float
    edit_success: float
    transfer_success: float
    transfer_low: float
    ssim_outside: float
    psnr_outside: float
    small: float
    standard_errors: float

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def sized(self, **sizes: int) -> "Protocol":
        """The same with other sizes; raises `InputError` for one below 1."""
        for name, value in sizes.items():
            if value < 1:
                raise InputError(f"evaluate: {name} must be at least 1, found {value}")
        return replace(self, **sizes)


def tables(path: Path) -> dict[str, Any]:
    """What a protocol's file holds; raises `InputError` for one that cannot be read or is not TOML."""
    try:
        return tomllib.loads(read_text(path, InputError))
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, a number of 5,000 digits
        raise InputError(f"protocol {path} is not TOML: {error}") from error


def number(path: Path, section: str, key: str, value: Any, within: Range) -> float:
    """A number of a protocol, whole where its range is; raises `InputError`."""
    if not within.holds(value):
        raise InputError(f"protocol {path}, section {section}: {key} must {within}, found {value!r:.80}")
    return value if within.whole else float(value)


def read_protocol(path: Path = FILE) -> Protocol:
    """The protocol in a TOML file; raises `InputError` for one that lacks something or has more, and for any value
    that is not within `SECTIONS`.
    """
    found = tables(path)
    found.pop("claims", None)  # asked apart, and measured apart: see `loco.evaluation.claims`
    for name, section in found.items():
        if name not in SECTIONS or not isinstance(section, dict):
            raise InputError(
                f"protocol {path}: expected the sections {', '.join(SECTIONS)} and claims, found {name:.80} = "
                f"{section!r:.80}"
            )
    values: dict[str, Any] = {}
    for name, ranges in SECTIONS.items():
        section = found.get(name, {})
        if set(section) != set(ranges):
            wrong = ", ".join(sorted(set(section) ^ set(ranges)))
            raise InputError(
                f"protocol {path}, section {name}: missing or unknown: {wrong:.200}; known are {', '.join(ranges)}"
            )
        prefix = f"{name}_" if name in ("edit", "transfer") else ""
        values |= {f"{prefix}{key}": number(path, name, key, section[key], ranges[key]) for key in ranges}
    return Protocol(**values)
