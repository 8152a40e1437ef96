"""The small model that draws faces from words: train it, and measure its text-supervised directions.

    python benchmarks/words.py train OUT       about 20 minutes of one core; OUT is a model folder
    python benchmarks/words.py measure [N]     every phrase on N held-out faces; JSON on standard output
    python benchmarks/words.py guided [N]      the same words by guidance alone: does the model know them?

A phrase's direction is looked for in its region at t = 0.6 and applied at strength 4 with the original prompt.
Changes are read in the renderer's own terms (`loco.zoo.attributes`): units of each attribute's range, the mean over
the faces.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from loco.diffusion.guidance import edited_under, under
from loco.diffusion.sampling import sample
from loco.discover import discover
from loco.edit import change
from loco.inversion import invert
from loco.models.diffusers_folder import open_folder
from loco.models.network import NetworkDenoiser
from loco.models.source import model_folder
from loco.recipes import DiscoverRecipe
from loco.rois.roi import Roi
from loco.zoo.attributes import attribute_change
from loco.zoo.faces import Faces, faces
from loco.zoo.train_words import WordsRecipe, train
from loco.zoo.words import PHRASES, START, Phrase

SOURCE = "zoo:faces32-words"
REGIONS = {
    "mouth_curve": "mouth",
    "mouth_openness": "mouth",
    "hair_lightness": "hair",
    "hair_length": "hair",
    "skin_tone": "skin",
    "eye_openness": "eyes",
    "glasses": "eyes",
}
T, STEPS, STRENGTH, SEED = 0.6, 20, 4.0, 900


def changes(
    denoiser: NetworkDenoiser, phrase: Phrase, people: Faces, steps: int = STEPS
) -> list[dict[str, float]]:
    """What the phrase's direction does to each face's attributes; faces where none is left are left out."""
    recipe = DiscoverRecipe(
        t=T, steps=steps, prompt=START, guidance=1.0, edit_prompt=f"{START} {phrase.text}", max_rounds=5
    )
    original, edited = under(denoiser, recipe), edited_under(denoiser, recipe)
    x0 = torch.from_numpy(people.images).permute(0, 3, 1, 2) / 127.5 - 1
    found = []
    for i in range(len(x0)):
        prepared = invert(original, x0[i : i + 1], T, steps)
        roi = Roi(phrase.attribute, people.masks[REGIONS[phrase.attribute]][i], "renderer")
        basis = discover(
            original, prepared.x_t[0], [roi], recipe, model="words", image_id=f"{i:064d}", edited=edited
        )
        if basis.directions:
            step = STRENGTH * torch.from_numpy(basis.vectors[0].copy())
            delta = change(original, prepared, step)[0].numpy()
            found.append(attribute_change(delta, people.attributes[i]))
    return found


def summary(phrase: Phrase, found: list[dict[str, float]]) -> dict[str, object]:
    """Mean change of the named attribute, and of the other one that moved most."""
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    named = means.pop(phrase.attribute)
    other = max(means, key=lambda name: abs(means[name]))
    right = np.mean([(one[phrase.attribute] > 0) == phrase.high for one in found])
    return {
        "phrase": phrase.text,
        "attribute": phrase.attribute,
        "faces": len(found),
        "change": round(named, 3),
        "faces_in_the_right_direction": round(float(right), 2),
        "largest_other": [other, round(means[other], 3)],
    }


def guided(
    denoiser: NetworkDenoiser, phrase: Phrase, people: Faces, scale: float = 4.0
) -> list[dict[str, float]]:
    """What guidance towards the phrase does to each face's attributes, against the original prompt alone."""
    original = denoiser.told(START)
    x0 = torch.from_numpy(people.images).permute(0, 3, 1, 2) / 127.5 - 1
    x_t = invert(original, x0, T, STEPS, complete=False).x_t
    moved = sample(denoiser.prompted(f"{START} {phrase.text}", scale), x_t, T, STEPS)
    deltas = (moved - sample(original, x_t, T, STEPS)).numpy()
    return [attribute_change(delta, row) for delta, row in zip(deltas, people.attributes, strict=True)]


def main(arguments: list[str]) -> None:
    """Run `train`, `measure` or `guided`."""
    torch.set_num_threads(1)
    if arguments[:1] == ["train"]:
        start = model_folder("zoo:faces32") / "unet" / "diffusion_pytorch_model.safetensors"
        for line in train(WordsRecipe(), Path(arguments[1]), start):
            print(json.dumps(line), flush=True)
        return
    _, denoiser = open_folder(model_folder(SOURCE))
    people = faces(SEED, int(arguments[1]) if len(arguments) > 1 else 12, 32)
    act = guided if arguments[:1] == ["guided"] else changes
    for phrase in PHRASES:
        print(json.dumps(summary(phrase, act(denoiser, phrase, people))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
