"""The error tree of the whole project.

    LocoError                exit code 1
    ├── InputError           exit code 2: what was asked for cannot be (unknown name, bad option, misfit)
    │   └── UnknownName      a name or id that nothing answers to
    ├── ModelError           a model folder that is missing, not a diffusers model, or not supported
    ├── ImageError           one image file that cannot be read
    ├── RoiError             a mask that is missing, unreadable or not of its image
    │   └── RoiAbsent        a region that the image does not have: no failure
    ├── DirectionError       a direction with nothing left of it after the projection
    ├── StorageError         a disk that is full, read-only or damaged
    │   ├── Damaged          bytes that are not what their checksum says
    │   └── NewerFormat      a file of a newer program: sound, and not for this one to read, delete or replace
    ├── RegistryError        the catalogue cannot do what was asked
    │   └── RegistryBusy     another process holds the catalogue for too long
    └── ServerError          the Prefect server did not start or answer

A message says what was expected, what was found, where, and what to do.
"""

from loco.urls import masked


class LocoError(Exception):
    """Anything this project reports to its user; `exit_code` is the command line's."""

    exit_code = 1

    def __init__(self, *arguments: object) -> None:
        """A message; credentials of URLs in it are hidden, whoever wrote it."""
        super().__init__(*(masked(one) if isinstance(one, str) else one for one in arguments))


class InputError(LocoError):
    """What was asked for cannot be: an unknown name, a bad option, a direction that does not fit."""

    exit_code = 2


class UnknownName(InputError):
    """A name or id that nothing in the home or the catalogue answers to."""


class ModelError(LocoError):
    """A model that is missing, is not a diffusers model, or is of a kind that is not supported."""


class ImageError(LocoError):
    """One image file that cannot be decoded; the images beside it go on."""


class RoiError(LocoError):
    """A region of interest whose mask is missing, unreadable or not of its image."""


class RoiAbsent(RoiError):
    """A region that one image does not have, or not at the model's size: passed over and told, never a failure."""


class DirectionError(LocoError):
    """A direction with nothing left of it after the null-space projection."""


class StorageError(LocoError):
    """A file that could not be written or read: full disk, read-only folder, missing file."""


class Damaged(StorageError):
    """Bytes that are not what their checksum says."""


class NewerFormat(StorageError):
    """A file of a newer program. It is no damage: nothing here deletes or replaces such a file."""


class RegistryError(LocoError):
    """The catalogue cannot do what was asked of it."""


class RegistryBusy(RegistryError):
    """Another process held the catalogue for longer than the timeout."""


class ServerError(LocoError):
    """The Prefect server of this home did not start or does not answer."""
