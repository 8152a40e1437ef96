"""Opening a scorer in the process that uses it: once, and only if it is still what a recipe names."""

from functools import lru_cache

from loco.errors import ModelError
from loco.scorers.opening import open_scorer
from loco.scorers.scorer import Score, Scorer


def score_of(source: str, prompts: tuple[str, ...], toward: str, place: str) -> Score:
    """The number that a recipe is `toward` ("ID#NAME"), of the scorer at `source`, on the device `place`.

    Raises `ModelError` for a scorer that is not that any more, `UnknownName` for a number that it does not have.
    """
    wanted, _, name = toward.partition("#")
    scorer = _opened(source, prompts, place)
    if scorer.id != wanted:
        raise ModelError(
            f"scorer {source} is {scorer.id[:12]} now, and the run is toward a number of {wanted[:12]}; put the "
            f"former file back, or begin anew with `loco discover --toward`"
        )
    return scorer.one(name)


@lru_cache(maxsize=2)
def _opened(source: str, prompts: tuple[str, ...], place: str) -> Scorer:
    return open_scorer(source, prompts, device=place)
