"""What running a model was measured to take on this machine, for limits that suit it: a cache of `loco model add`."""

import json
import platform
from dataclasses import dataclass
from pathlib import Path

from loco.errors import StorageError
from loco.files import write_atomic
from loco.outside import regular
from registry.home import Home
from registry.records import ModelRecord

SECONDS = 600.0
"""What one image may take at least before it is given up."""

PATIENCE = 2000
"""Evaluations of the network that one image may take before it is given up: several times what discovery needs."""


@dataclass(frozen=True)
class Measured:
    """One evaluation of one image: its seconds, and the bytes that it needs at most; None where not known."""

    seconds: float
    bytes: int | None


def note(home: Home, model: ModelRecord, device: str, seconds: float, most: int | None) -> None:
    """Keep what was measured; what cannot be written is not kept."""
    told = {"seconds": seconds, "bytes": most, "host": platform.node()}
    try:
        write_atomic(_place(home, model, device), json.dumps(told).encode())
    except StorageError:
        return


def measured(home: Home, model: ModelRecord, device: str = "cpu") -> Measured | None:
    """What is known of a model on this machine, or None."""
    try:
        with regular(_place(home, model, device)) as file:
            told = json.loads(file.read(1 << 16))
        seconds, most = float(told["seconds"]), told["bytes"]
        if told["host"] != platform.node() or not 0 <= seconds < 1e7:
            return None
        return Measured(seconds, most if isinstance(most, int) and most > 0 else None)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _place(home: Home, model: ModelRecord, device: str) -> Path:
    return home.root / "measured" / f"{model.id}-{device.partition(':')[0]}.json"


def fitting(home: Home, model: ModelRecord, device: str, wanted: int) -> int:
    """Images at a time, at most as many as are wanted, that fit into the memory that is to spare."""
    known = measured(home, model, device)
    if known is None or known.bytes is None:
        return wanted
    from loco.room import room

    return max(1, min(wanted, room(device) // known.bytes))


def patience(home: Home, model: ModelRecord) -> float:
    """Seconds that one image may take where nobody said: `SECONDS`, or more for a model that is slow here."""
    known = [one for one in (measured(home, model, device) for device in ("cpu", "cuda")) if one is not None]
    return max([SECONDS, *(PATIENCE * one.seconds for one in known)])
