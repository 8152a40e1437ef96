"""How much memory there is, and whether an error means that it ran out: asked by solvers, chunks and retries alike.

Needs no torch. On a CPU under Linux nothing fails when memory runs out: the kernel kills. So sizes are chosen before.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

SIGNS = ("out of memory", "can't allocate memory")
"""What torch's errors say of it, on any device."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed because its device, or the machine, had no memory left for it."""
    if isinstance(error, MemoryError) or any(
        kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__
    ):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def free_bytes() -> int:
    """Bytes of main memory that can still be had: the system's, or what the control group leaves where that is less."""
    free = int(psutil.virtual_memory().available)
    for most, used, spare in _CGROUPS:
        try:
            limit = int(most.read_text())
            held = int(used.read_text())
            cached = sum(
                int(line.split()[1])
                for line in spare.read_text().splitlines()
                if line.split()[0] in ("inactive_file", "total_inactive_file")
            )
        except (OSError, ValueError, IndexError):  # no such group, or one without a limit ("max")
            continue
        free = min(free, max(0, limit - held + cached))
    return free


_CGROUPS = tuple(
    tuple(Path("/sys/fs/cgroup") / name for name in names)
    for names in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    )
)
"""Where control groups of version 2 and 1 say their limit, what of it is used, and what of that is only cache."""


_BETWEEN = [1]


def shared(between: int) -> None:
    """So many processes compute on this machine at a time: each may have its part of the free memory."""
    _BETWEEN[0] = max(1, between)


def spare_bytes() -> int:
    """Bytes of main memory that this process may plan to use: half of what is free, or its part of that."""
    return free_bytes() // (2 * _BETWEEN[0])


class Peak:
    """Bytes that the block took beyond what the process had before; None where the system does not tell."""

    bytes: int | None = None


@contextlib.contextmanager
def peak() -> Iterator[Peak]:
    """Measure the main memory that a block needs at most, by the kernel's own high-water mark (Linux)."""
    found = Peak()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the mark falls to what is held now
        before = _status("VmRSS")
    except (OSError, ValueError):
        yield found
        return
    yield found
    with contextlib.suppress(OSError, ValueError):
        found.bytes = max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)
