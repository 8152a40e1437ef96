"""Classes by number or by name."""

from loco.errors import InputError
from loco.models.card import ModelCard


def number_of(card: ModelCard, prompt: str, classes: int) -> int:
    """The class that a prompt names, by its number or by one of its names (`a, b` has two); raises `InputError`."""
    if prompt.isdecimal() and int(prompt) < classes:
        return int(prompt)
    for number, label in card.labels.items():
        if prompt.lower() in (label.lower(), *(name.strip().lower() for name in label.split(","))):
            return number
    some = ", ".join(list(card.labels.values())[:3])
    raise InputError(
        f"model {card.folder.name!r} knows no class {prompt!r}; expected a number below {classes}"
        + (f", or a name such as {some}" if some else "")
    )
