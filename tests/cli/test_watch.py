import io

from rich.console import Console
from rich.progress import Progress

from cli.watch import Bar, Lines, duration, watching


def test_lines_tell_each_tenth(capsys):
    with watching("reading") as watch:
        assert isinstance(watch, Lines)
        watch.total(25)
        for _ in range(25):
            watch.advance()
        watch.say("bad \x1b[2Jname")
    out, err = capsys.readouterr()
    assert out == ""
    numbers = (3, 5, 8, 10, 13, 15, 18, 20, 23, 25)
    assert err.splitlines() == [*(f"reading: {number} of 25" for number in numbers), "bad \\x1b[2Jname"]


def test_lines_without_a_total(capsys):
    watch = Lines("reading")
    for _ in range(25):
        watch.advance(100)
    assert capsys.readouterr().err.splitlines() == ["reading: 1000", "reading: 2000"]


def test_nothing_to_do(capsys):
    watch = Lines("reading")
    watch.total(0)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Progress(console=console) as progress:
        bar = Bar(progress, "reading")
        bar.total(4)
        bar.advance(3)
        bar.say("[bold]torn.png")
        [task] = progress.tasks
        assert (task.total, task.completed, task.description) == (4, 3, "reading")
    assert "[bold]torn.png" in console.file.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with watching("reading") as watch:
        assert isinstance(watch, Bar)
    assert capsys.readouterr().out == ""


def test_times_in_a_word():
    seconds = (0.4, 40, 150, 3 * 3600, 3 * 86400)
    assert [duration(one) for one in seconds] == ["0 s", "40 s", "2 min", "3.0 h", "3.0 d"]
