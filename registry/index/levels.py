"""The levels of directions whose files do not tell them: by the schedule of their model, where that is registered here.

Files of formats 1 and 2 have t and the training step alone. What these mean stands in the model's folder.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from loco.errors import LocoError
from loco.levels import log_snr
from loco.models.card import read_card
from loco.models.levels import alpha_bar
from loco.models.source import local_folder
from registry.index.tables import DirectionRow, ModelRow

Levels = Mapping[str, NDArray[np.float64]]
"""alpha_bar [T] of each training step, by the model's id."""


def known(session: Session, models: Iterable[str]) -> Levels:
    """The levels of those of the models (by id) that are registered, and whose folder is here."""
    wanted = sorted(set(models))
    if not wanted:
        return {}
    row = ModelRow
    query = select(row.id, row.source, row.schedule, row.train_steps).where(row.id.in_(wanted))
    found: dict[str, NDArray[np.float64]] = {}
    for model, source, schedule, steps in session.execute(query).tuples():
        levels = _levels(source, schedule, steps)
        if levels is not None:
            found[model] = levels
    return found


def level(levels: Levels, model: str, step: int) -> float | None:
    """alpha_bar of a model's training step, where it is known."""
    mine = levels.get(model)
    return float(mine[step]) if mine is not None and 0 <= step < len(mine) else None


def fill(session: Session, model: str | None = None) -> None:
    """Give rows without a level theirs: all, or those of one model (by id)."""
    row = DirectionRow
    query = select(row.model, row.step).where(row.alpha_bar.is_(None)).distinct()
    if model is not None:
        query = query.where(row.model == model)
    missing = session.execute(query).tuples().all()
    levels = known(session, (one for one, _ in missing))
    for one, step in missing:
        value = level(levels, one, step)
        if value is not None:
            mine = (row.model == one, row.step == step, row.alpha_bar.is_(None))
            told: dict[str, Any] = {"alpha_bar": value, "log_snr": log_snr(value)}
            session.execute(update(row).where(*mine).values(told))


@functools.lru_cache(maxsize=64)
def _levels(source: str, schedule: str, steps: int) -> NDArray[np.float64] | None:
    """Those of a model's folder, where it is what was registered as far as its configuration tells."""
    try:
        folder = local_folder(source)
        if folder is None:
            return None
        card = read_card(folder, hashed=False)
        return alpha_bar(folder) if (card.schedule, card.train_steps) == (schedule, steps) else None
    except LocoError:
        return None  # the folder is gone, or is no model any more: nobody knows
