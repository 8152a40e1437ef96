"""Whether an error means that memory ran out: asked by solvers, chunks and retries alike. Needs no torch."""

SIGNS = ("out of memory", "can't allocate memory")
"""What torch's errors say of it, on any device."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed because its device, or the machine, had no memory left for it."""
    if isinstance(error, MemoryError) or any(
        kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__
    ):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
