"""Running a model once before it is registered."""

from flows.device.measured import note
from loco.memory import free_bytes
from loco.models.card import ModelCard, read_card
from loco.models.source import model_folder
from registry.home import Home
from registry.records import ModelRecord


def probed(home: Home, record: ModelRecord) -> str:
    """What a forward pass on zeros took, in words; raises `ModelError` where the network cannot be run.

    A model whose weights alone are larger than the free memory is not run, and that is said; of its LoRAs it is then
    seen that they are such.
    """
    folder = model_folder(record.source)
    card = read_card(folder, hashed=False)
    needed, free = weight_bytes(card), free_bytes()
    if needed > free:
        from loco.models.lora import parts_of

        for one in () if card.adapters is None else card.adapters.loras:
            parts_of(one.file)
        return (
            f"not run: its weights take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; whether it can be run "
            f"is found out when it is used"
        )
    from flows.device.models import device
    from loco.models.diffusers_folder import open_folder
    from loco.models.probe import probe

    place = device()
    try:
        # Not `card.folder`, which is the base's without adapters or size. Not kept open: what is used is opened anew.
        _, denoiser = open_folder(folder, device=place)
        found = probe(denoiser, record.recommended_t or 0.5)
    except MemoryError as error:
        return f"not run: memory ran out for one image ({error})"
    note(home, record, place, found.seconds, found.bytes)
    memory = "" if not found.bytes or found.bytes < 10**8 else f" and {found.bytes / 1e9:.1f} GB"
    return f"one forward pass on zeros took {found.seconds:.3g} s{memory} on {place}"


def weight_bytes(card: ModelCard, width: int = 4) -> int:
    """Bytes of all its weights, at so many bytes each."""
    return width * card.parameters
