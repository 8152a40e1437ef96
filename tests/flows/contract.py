"""What each kind of job can: said beside the test that shows it, from where docs/architecture.md has its table."""

import pytest

from flows.kinds import KINDS


def can(capability, **cells):
    """A test for every kind of job, the fixture or argument `kind`: what it shows is a row of the table.

    A kind's cell is `yes`, if it is not given; one that begins with `no` has the reason, and the kind is left out.
    """
    assert capability
    assert cells.keys() <= KINDS.keys()
    return pytest.mark.parametrize(
        "kind", [one for one in KINDS if not cells.get(one, "yes").startswith("no:")]
    )


def shows(capability, **cells):
    """The same for a test that goes through the kinds by itself."""
    assert capability
    assert all(cell.startswith("no:") or cell for cell in cells.values())
    return lambda test: test
