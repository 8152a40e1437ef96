"""What the zoo can render, by name."""

from loco.zoo.faces import FACES
from loco.zoo.houses import HOUSES
from loco.zoo.subject import Subject

SUBJECTS: dict[str, Subject] = {one.name: one for one in (FACES, HOUSES)}
