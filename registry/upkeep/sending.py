"""Sending a home's basis files to its shared store."""

import contextlib

from loco.errors import Damaged, InputError, NewerFormat
from loco.outside import regular_bytes
from registry.files import shared
from registry.files.basis import read_basis
from registry.home import Home
from registry.upkeep.verify import basis_files


def send(home: Home) -> int:
    """Send the files that the store lacks; returns how many. Damaged ones and a newer program's stay.

    Raises `InputError` for a home without a shared store.
    """
    store = shared.shared(home)
    if store is None:
        raise InputError("there is no shared store; set one with `loco registry store --artifacts URL`")
    sent, there = 0, store.ids()
    for path in basis_files(home):
        with contextlib.suppress(Damaged, NewerFormat):
            if path.stem not in there and read_basis(path).id == path.stem:
                store.put(path.stem, regular_bytes(path))
                sent += 1
    return sent
