"""What the zoo can render, by name."""

from collections.abc import Mapping
from typing import Any

from loco.zoo.faces import FACES
from loco.zoo.houses import HOUSES
from loco.zoo.subject import Subject

SUBJECTS: dict[str, Subject] = {one.name: one for one in (FACES, HOUSES)}


def subject_of(training: Mapping[str, Any]) -> Subject:
    """What a model was trained on, as its card's `training` says it; faces where it does not."""
    recipe = training.get("recipe") or {}
    return SUBJECTS[recipe.get("subject", FACES.name)]
