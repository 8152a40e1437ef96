"""The help texts of every command, for docs/cli.md: `cog -r docs/cli.md` writes them, `cog --check` compares."""

from collections.abc import Iterator

import click

from cli.main import root

WIDTH = 100


def commands(group: click.Group = root, path: tuple[str, ...] = ("loco",)) -> Iterator[tuple[str, ...]]:
    """Names of the group and of everything below it, in the order of the help."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def help_of(path: tuple[str, ...]) -> str:
    """What `loco ... --help` prints for that command, on a terminal of fixed width."""
    command: click.Command = root
    context = click.Context(root, info_name=path[0], terminal_width=WIDTH, color=False)
    for name in path[1:]:
        assert isinstance(command, click.Group), path
        command = command.commands[name]
        context = click.Context(
            command, parent=context, info_name=name, terminal_width=WIDTH, **command.context_settings
        )
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def reference() -> str:
    """All help texts as Markdown."""
    return (
        "\n".join(f"\n## {' '.join(path)}\n\n```text\n{help_of(path)}\n```" for path in commands()) + "\n\n"
    )
