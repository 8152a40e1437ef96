"""Where edited images go: a folder or a URL, with `manifest.jsonl` (one line an output) and `manifest.parquet` in it.

A file gets its name when it is whole, and its line after that. So a killed run leaves at worst an image that nothing
vouches for, which is made again (`claims.py` knows it), and a torn last line, which is cut off. What is not ours is
never written over. Under a URL the lines are kept in the home while a run goes on and uploaded with the table at its
end: object stores cannot append.
"""

import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from flows.inputs.places import filesystem, local_path
from flows.outputs import claims, ledger
from flows.outputs.spool import Spool
from loco.errors import InputError, StorageError
from loco.files import make_folder, reading_errors, storage_errors, sweep, write_atomic
from loco.formats import Format
from loco.ids import bytes_id, content_id, file_id
from loco.outside import regular, regular_bytes
from registry.files import journal
from registry.home import Home

MANIFEST = "manifest"
"""The manifest's name, without its endings."""

_ASKING = 16
"""Questions at a time to an object store, of which each takes long."""


def check_manifest_name(name: str) -> str:
    """`name` if it can be a manifest's; raises `InputError` otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        raise InputError(
            f"--manifest: expected up to 100 of A-Z, a-z, 0-9, '.', '_' and '-', not beginning with '.', "
            f"found {name[:120]!r}"
        )
    return name.removesuffix(".jsonl").removesuffix(".parquet") or MANIFEST


class Outputs:
    """The output folder of a run, for any number of threads."""

    def __init__(self, home: Home, where: Path | str, manifest: str = MANIFEST) -> None:
        """Nothing is created before `prepare`. Raises `InputError` for a manifest's name that is none."""
        self.where = str(where)
        self._name = check_manifest_name(manifest)
        self._folder = local_path(self.where)
        self._lock = threading.Lock()
        self._claims = claims.claims_path(home, self.where)
        if self._folder is not None:
            self._ledger = self._folder / f"{self._name}.jsonl"
        else:
            named = [] if self._name == MANIFEST else [self._name]
            key = "/".join([self.where.rstrip("/"), *named])
            self._ledger = home.root / "outputs" / f"{content_id('outputs', key)}.jsonl"
        self._table = self._ledger.with_suffix(".parquet")

    @property
    def own(self) -> tuple[Path, ...]:
        """What a listing of images passes over."""
        return () if self._folder is None else (self._folder,)

    def check(self) -> None:
        """Refuse, before any work, a URL that nothing answers to and manifests that are not ours; `InputError`."""
        for path, check in ((self._ledger, ledger.check_manifest), (self._table, ledger.check_table)):
            if self._folder is None:
                self._check_remote(f"{self._name}{path.suffix}", check)
            elif os.path.lexists(path):
                if path.is_symlink() or not path.is_file():
                    raise ledger.taken(str(path), "no regular file")
                with reading_errors(path), regular(path) as file:
                    check(file, str(path))

    def _check_remote(self, name: str, check: Callable[[BinaryIO, str], None]) -> None:
        files, root = self._remote()
        try:
            if files.exists(f"{root}/{name}"):
                with files.open(f"{root}/{name}", "rb") as file:
                    check(file, self.path(name))
        except OSError as error:
            raise StorageError(f"{self.where}: cannot be looked into ({error})") from error

    def begun(self) -> bool:
        """Whether a manifest is there that this machine can read at once."""
        return self._folder is not None and self._ledger.is_file()

    def prepare(self) -> None:
        """Make the folder, and clear what a killed run left half written; raises `StorageError`."""
        if self._folder is None:
            files, root = self._remote()
            if not self._ledger.is_file() and files.exists(f"{root}/{self._name}.jsonl"):
                write_atomic(self._ledger, files.cat_file(f"{root}/{self._name}.jsonl"))
            return
        with storage_errors(self._folder):
            make_folder(self._folder)
        sweep(self._folder)

    def path(self, output: str) -> str:
        """Where an output lies, as the catalogue has it."""
        return f"{self.where.rstrip('/')}/{output}" if self._folder is None else str(self._folder / output)

    def write(self, output: str, data: bytes) -> None:
        """Write one output whole, or not at all; raises `StorageError`."""
        if self._folder is not None:
            write_atomic(self._folder / output, data)
            return
        files, root = self._remote()
        path = f"{root}/{output}"
        with storage_errors(Path(self.path(output))):
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, data)

    def sound(self, output: str, checksum: str) -> bool:
        """Whether the output is there with these bytes."""
        try:
            if self._folder is not None:
                path = self._folder / output
                return path.is_file() and file_id(path) == checksum
            files, root = self._remote()
            return bytes_id(files.cat_file(f"{root}/{output}")) == checksum
        except OSError:
            return False

    def file_of(self, output: str) -> str:
        """The file that an output is, or is in."""
        return output

    def foreign(self, outputs: Iterable[str], ours: Iterable[str]) -> set[str]:
        """The files of the outputs that are somebody else's; the free names are noted as taken by us.

        `ours` are those outputs that the manifest vouches for. Raises `StorageError`.
        """
        others = {self.file_of(one) for one in outputs} - {self.file_of(one) for one in ours}
        with ThreadPoolExecutor(1 if self._folder is not None else _ASKING) as pool:
            there = {one for one, found in zip(others, pool.map(self._exists, others), strict=True) if found}
        mine = claims.claimed(self._claims, there) if there else set()
        if there - mine:  # another run at work here may have made them since the manifest was read
            with storage_errors(self._ledger):
                told = (line["output"] for line, _ in ledger.lines(self._ledger) if ledger.vouched(line))
                mine |= {self.file_of(one) for one in told}
        if others - there:
            claims.claim(self._claims, others - there)
        return there - mine

    def taken(self, file: str) -> StorageError:
        """What is said of a file that is somebody else's."""
        return StorageError(
            f"{self.path(file)} is there, and no manifest says that it is ours: it stays as it is; "
            f"move it away, or choose another --out"
        )

    def _exists(self, file: str) -> bool:
        if self._folder is not None:
            return os.path.lexists(self._folder / file)
        files, root = self._remote()
        try:
            return bool(files.exists(f"{root}/{file}"))
        except OSError:
            return True  # a guess that destroys nothing

    def close(self) -> None:
        """Close what is open: nothing."""

    # The manifest

    def log(self, *told: dict[str, Any]) -> None:
        """Append lines, in one write, after their outputs are there; raises `StorageError`."""
        data = b"".join(json.dumps(line, sort_keys=True).encode() + b"\n" for line in told)
        with storage_errors(self._ledger), self._lock:
            handle = self._open()
            try:
                _end_line(handle)
                journal.add(handle, data, settle=False)
            finally:
                os.close(handle)

    def files(self, format: Format) -> Iterator[Path]:
        """The files of a format that are there, where the folder is this machine's."""
        if self._folder is not None and self._folder.is_dir():
            yield from (path for path in self._folder.glob(f"*__*.{format}") if path.is_file())

    def look(self, spool: Spool) -> None:
        """Tell the spool what the manifest says, and touch nothing."""
        with storage_errors(self._ledger):
            spool.note(ledger.lines(self._ledger))

    def recall(self, spool: Spool) -> None:
        """Tell the spool what the manifest says; foreign lines say nothing, a torn last line little."""
        self.look(spool)
        with storage_errors(self._ledger):
            torn = ledger.torn_output(self._ledger)
        if torn is not None:
            claims.claim(self._claims, [self.file_of(torn)])

    def settle(self, spool: Spool) -> None:
        """At a run's end: one line an output in the manifest, the last it got, and the same as a table.

        The manifest is written anew only where lines of ours were superseded. Raises `StorageError`, and `InputError`
        where somebody else's file has taken a name in the meantime.
        """
        if not self._ledger.is_file():
            return
        with storage_errors(self._ledger), self._lock:
            # The lock goes with the old file: where it was written anew, others may have added to the new one.
            while not self._settled(spool):
                pass

    def _settled(self, spool: Spool) -> bool:
        """Whether the manifest had one line an output; then the table says the same, under the manifest's lock."""
        handle = self._open()
        try:
            if spool.note(ledger.lines(self._ledger)) != spool.count_lines():
                ledger.replace_lines(self._ledger, spool.lines())
                return False
            self.check()
            ledger.write_table(self._table, spool.lines())
            claims.release(self._claims, (name for name, _ in groupby(map(self.file_of, spool.vouched()))))
            if self._folder is None:
                files, root = self._remote()
                with storage_errors(Path(self.where)):
                    files.pipe_file(f"{root}/{self._name}.jsonl", regular_bytes(self._ledger))
                    files.pipe_file(f"{root}/{self._name}.parquet", regular_bytes(self._table))
        finally:
            os.close(handle)
        return True

    def _open(self) -> int:
        """The manifest, locked against other processes, under the name it has now."""
        make_folder(self._ledger.parent)
        while True:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            handle = os.open(self._ledger, flags, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                if os.fstat(handle).st_ino == self._ledger.stat().st_ino:
                    return handle  # not one that another process has just written anew
            except FileNotFoundError:
                pass
            os.close(handle)

    def _remote(self) -> tuple[Any, str]:
        files, root = filesystem(self.where)
        return files, str(root).rstrip("/")


def _end_line(handle: int) -> None:
    """End a last line that somebody else left without a newline: `journal.add` cuts off what is torn."""
    size = os.fstat(handle).st_size
    if not size or os.pread(handle, 1, size - 1) == b"\n":
        return
    start = max(0, size - ledger.LONGEST)
    if not ledger.torn(os.pread(handle, size - start, start).rpartition(b"\n")[2]):
        os.write(handle, b"\n")
