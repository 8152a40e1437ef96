"""The method: local edit directions of diffusion models (LOCO Edit, arXiv 2409.02374).

`import loco` gives the few names that a program needs; each is loaded when it is first asked for.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loco.discover import discover as discover
    from loco.edit import edit as edit
    from loco.inversion import invert as invert
    from loco.opening import open_images as open_images
    from loco.opening import open_model as open_model
    from loco.recipes import DiscoverRecipe as DiscoverRecipe
    from loco.recipes import EditRecipe as EditRecipe
    from loco.rois.roi import Roi as Roi

_GIVEN = {
    "DiscoverRecipe": "loco.recipes",
    "EditRecipe": "loco.recipes",
    "Roi": "loco.rois.roi",
    "discover": "loco.discover",
    "edit": "loco.edit",
    "invert": "loco.inversion",
    "open_images": "loco.opening",
    "open_model": "loco.opening",
}
"""Name -> the module that has it."""

__all__ = [*_GIVEN]


def __getattr__(name: str) -> Any:
    """One of the names above (PEP 562); nothing heavy is imported before."""
    if name not in _GIVEN:
        raise AttributeError(f"module 'loco' has no attribute {name!r}; it has {', '.join(_GIVEN)}")
    found = getattr(import_module(_GIVEN[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """With the names that are not loaded yet."""
    return sorted({*globals(), *_GIVEN})


class _Package(ModuleType):
    """Python gives a package each submodule that is imported as an attribute; here `discover` and `edit` are functions.

    The modules of these names are there for `from loco.edit import change`, as they are without this.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if _GIVEN.get(name) == f"loco.{name}" and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
