"""Memory to plan with, on whichever device a network runs."""

import torch

from loco.memory import spare_bytes


def room(device: str | torch.device) -> int:
    """Bytes that this process may plan to use there: of main memory half of what is free, of a GPU's three quarters."""
    if torch.device(device).type != "cuda":
        return spare_bytes()
    free = torch.cuda.mem_get_info(device)[0]
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + held) * 3 // 4
