"""The catalogue and its artifact store: what was found, with which evidence, and where it lies."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.registry import Registry


def open(home: Path | str, url: str | None = None) -> "Registry":
    """The registry of the home folder `home`, on the catalogue at the SQLAlchemy `url` or the home's own.

    Nothing is created before something is kept. Raises `InputError` for a URL that is none.
    """
    from registry.home import Home
    from registry.registry import Registry

    return Registry(Home(Path(home).expanduser().absolute()), url)
