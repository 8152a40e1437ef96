"""The error tree: what its docstring draws is what the classes are."""

import re

import pytest

from loco import errors

CLASSES = {name: item for name, item in vars(errors).items() if isinstance(item, type)}


def drawn():
    """(name, parent, exit code or None) of each line of the tree in the docstring."""
    path = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"( {4}[ │├└─]*)([A-Z]\w+)(?:.*exit code (\d))?", line)
        if found:
            depth = (len(found[1]) - 4) // 4
            path[depth:] = [found[2]]
            yield found[2], path[depth - 1] if depth else None, found[3]


def test_the_docstring_draws_every_class_under_its_parent():
    tree = {name: parent for name, parent, _ in drawn()}
    assert tree.keys() == CLASSES.keys()
    for name, parent in tree.items():
        assert CLASSES[name].__bases__ == (CLASSES[parent] if parent else Exception,)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_wrong_input_exits_with_2_and_all_else_with_1(name):
    wrong_input = issubclass(CLASSES[name], errors.InputError)
    assert CLASSES[name].exit_code == (2 if wrong_input else 1)
    assert str(CLASSES[name]("what happened")) == "what happened"
    assert CLASSES[name].__doc__.endswith(".")


def test_the_drawn_exit_codes_are_the_classes():
    codes = {name: int(code) for name, _, code in drawn() if code}
    assert codes == {"LocoError": 1, "InputError": 2}
    assert {name: CLASSES[name].exit_code for name in codes} == codes
