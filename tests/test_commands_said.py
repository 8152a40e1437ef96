"""Every `loco ...` that documentation, messages and docstrings name is a command with those options."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from cli.main import root

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
]
SOURCES = [
    path for top in ("cli", "flows", "registry", "loco") for path in sorted((ROOT / top).rglob("*.py"))
]


def typed(page):
    """The words of every command in a page's code blocks; what is explained beside a command is cut off."""
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("```"):
            fenced = not fenced
        text = line.strip().removeprefix("$ ")
        if (fenced or line.startswith("    ")) and text.startswith("loco ") and page.name != "cli.md":
            yield from commands_in(re.split(r"\s{2,}", text)[0])


def commands_in(line):
    """The words of each `loco` of a line of a shell."""
    lexer = shlex.shlex(line.removesuffix("\\"), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set("|&;<>"):
            words.append(word)
            continue
        if words[:1] == ["loco"]:
            yield words
        words = []


def named(text):
    """The commands in backticks; what stands in braces of an f-string is some value."""
    for found in re.findall(r"`(loco [^`\n]*)`", text):
        yield re.sub(r"\{[^{}]*\}", "VALUE", found)


def strings(path):
    """All string literals of a source file, of f-strings with VALUE for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(one.value if isinstance(one, ast.Constant) else "VALUE" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def resolved(words):
    """The click command of some words, and the words after its name; fails for one that is none."""
    command = root
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith(("-", "[")):
        found = command.commands.get(words[0])
        assert found is not None, f"no command {' '.join(words)!r}"
        command, words = found, words[1:]
    return command, words


def check_named(text):
    """The command is there, and has every option that is named."""
    words = text.replace("[", " ").replace("]", " ").split()[1:]
    words = [word.strip("(),.;:'\"") for word in words]
    while words and words[0] in ("--home", "--registry"):
        words = words[2:]
    words = [word for word in words if word != "--json"]
    if words and (words[0] in ("...", "COMMAND", "VALUE") or words[0].startswith("-")):
        return
    command, rest = resolved([word for word in words if word])
    context = click.Context(command)
    options = {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{text!r}: {command.name} has no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_of_the_documentation_parses(page):
    for line in typed(page):
        command, words = resolved(line[1:])
        if not words or any(word in ("...", "COMMAND") or word.startswith("[") for word in line):
            check_named(" ".join(line))
            continue
        try:
            command.make_context(command.name, words, parent=click.Context(root, info_name="loco")).close()
        except click.UsageError as error:
            pytest.fail(f"{page.name}: {' '.join(line)!r}: {error.format_message()}")
    if page.name != "CHANGELOG.md":
        for text in named(page.read_text(encoding="utf-8")):
            check_named(text)


def test_every_command_that_messages_and_help_name_is_there():
    count = 0
    for path in SOURCES:
        for string in strings(path):
            for text in named(string):
                count += 1
                try:
                    check_named(text)
                except AssertionError as error:
                    pytest.fail(f"{path.relative_to(ROOT)}: `{text}`: {error}")
    assert count > 60


def test_the_examples_in_the_commands_help_parse():
    def helped(group):
        for one in group.commands.values():
            yield from helped(one) if isinstance(one, click.Group) else [one]

    seen = 0
    for one in helped(root):
        for line in (one.help or "").splitlines():
            if line.strip().startswith("loco ") and not line.endswith("\\"):
                for example in commands_in(line.strip()):
                    command, words = resolved(example[1:])
                    command.make_context(command.name, words, parent=click.Context(root)).close()
                    seen += 1
    assert seen > 10
