"""What an evaluation is told before it runs."""

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from loco.errors import InputError

FILE = Path(__file__).with_name("protocol.toml")

QUICK = {"sources": 2, "held_out": 6, "rank": 1, "steps": 3}
"""Sizes of `--quick`: everything runs, nothing is shown."""


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


def read_protocol(path: Path = FILE) -> Protocol:
    """The protocol in a TOML file; raises `InputError` for one that lacks something or has more."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"protocol {path} cannot be read: {error}") from error
    values: dict[str, Any] = {}
    for name, section in found.items():
        if name == "claims":  # asked apart, and measured apart: see `loco.evaluation.claims`
            continue
        prefix = f"{name}_" if name in ("edit", "transfer") else ""
        values |= {f"{prefix}{key}": value for key, value in section.items()}
    known = {one.name for one in fields(Protocol)}
    if set(values) != known:
        wrong = ", ".join(sorted(set(values) ^ known))
        raise InputError(
            f"protocol {path}: missing or unknown: {wrong}; known are {', '.join(sorted(known))}"
        )
    return Protocol(**values)
