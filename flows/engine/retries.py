"""What can pass and is worth another try, and what cannot. Needs no Prefect.

can pass          a device out of memory or in trouble, a process that died, a file system that is away, a catalogue
                  that another process holds, an image that took too long
cannot            wrong input, a broken file, a full disk (each has its own error, told at once), and bugs
"""

from concurrent.futures import BrokenExecutor

from loco.errors import LocoError, RegistryBusy
from loco.memory import out_of_memory

RETRIES = 2
BACK_OFF = (2.0, 10.0)
"""Seconds before each retry."""

_SIGNS = ("CUDA", "cuDNN", "cuBLAS", "NCCL", "HIP error")


class Lost(RuntimeError):
    """A chunk whose process died, or that was given up because it took too long."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may well succeed if it is done again."""
    if isinstance(error, LocoError):
        return isinstance(error, RegistryBusy)
    if isinstance(error, OSError | BrokenExecutor | Lost) or out_of_memory(error):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def is_retried(error: BaseException) -> bool:
    """Whether to try at once again, on the same worker: not after a time-out, which would only take as long."""
    return is_transient(error) and not isinstance(error, TimeoutError | BrokenExecutor | Lost)
