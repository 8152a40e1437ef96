"""Kill a command at a chosen system call, any command: by strace where it may trace, else at a chosen audit event.

A first run tells which calls there are once the command touches the given folder; the second is killed at one.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "openat,open,write,pwrite64,writev,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,"
    "fsync,fdatasync,flock,fallocate,sendfile,copy_file_range"
)
EVENTS = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "fcntl.flock",
    "fcntl.lockf",
)

HOOK = """
import os, runpy, sys
events, folder, moment, log = {events!r}, {folder!r}, {moment!r}, {log!r}
seen, begun, inside = 0, False, False
def hook(event, args):
    global seen, begun, inside
    if inside or event not in events:
        return
    inside = True
    begun = begun or any(isinstance(one, str) and one.startswith(folder) for one in map(str, args))
    if begun:
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), 9)
        if log:
            with open(log, "a") as file:
                file.write(event + "\\n")
    inside = False
sys.addaudithook(hook)
sys.argv = {words!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Moment:
    """A call by its name and which of its name it is, counted over the whole run; an audit event has no name."""

    call: str
    number: int


@functools.cache
def traced() -> bool:
    """Whether strace is here and may trace."""
    program = shutil.which("strace")
    if not program:
        return False
    return subprocess.run([program, "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


def hooked(words: list[str], folder: Path, moment: int, log: str = "") -> list[str]:
    """The command, under the hook."""
    hook = HOOK.format(events=EVENTS, folder=str(folder), moment=moment, log=log, words=words)
    return [sys.executable, "-c", hook]


def moments(words: list[str], folder: Path, log: Path, **how) -> list[Moment]:
    """All moments from the first at which the command touches `folder`; it must end well (0 or 3)."""
    if traced():
        command = ["strace", "-f", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log), *words]
    else:
        command = hooked(words, folder, 0, str(log))
    done = subprocess.run(command, capture_output=True, text=True, **how)
    assert done.returncode in (0, 3), done.stderr
    lines = log.read_text(errors="replace").splitlines()
    if not traced():
        return [Moment("", number + 1) for number in range(len(lines))]
    found, counts, begun = [], {}, False
    first = lines[0].split()[0]
    for line in lines:
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match is None or match[1] != first:
            continue
        counts[match[2]] = counts.get(match[2], 0) + 1
        begun = begun or str(folder) in line
        if begun:
            found.append(Moment(match[2], counts[match[2]]))
    return found


def killed(words: list[str], folder: Path, moment: Moment, **how) -> bool:
    """Run the command and kill it at the moment; whether it died (another order of calls may miss it)."""
    if moment.call:
        kill = f"inject={moment.call}:signal=KILL:when={moment.number}"
        command = ["strace", "-f", "-qq", "-e", f"trace={moment.call}", "-e", kill, "-o", "/dev/null", *words]
    else:
        command = hooked(words, folder, moment.number)
    done = subprocess.run(command, capture_output=True, **how)
    return done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)


def environment(home: Path) -> dict[str, str]:
    """Of a command in that home."""
    return {**os.environ, "LOCO_HOME": str(home), "OMP_NUM_THREADS": "1"}
