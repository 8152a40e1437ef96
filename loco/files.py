"""Files and folders that appear whole or not at all, and what killed processes leave of them.

Whatever is being made lies beside its place as `.<32 hexadecimal digits>.partial`, a file or a folder, and its maker
holds an flock on it until it has its name. The kernel lets go of a dead maker's lock: what nobody holds is a leftover,
whoever looks and whatever it was to become.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from loco.errors import InputError, StorageError
from loco.outside import remedy

_NAME = re.compile(r"\.[0-9a-f]{32}\.partial")
_OLDER = re.compile(r"\..+\.[0-9a-f]{32}\.partial(\.wal)?")
"""Names that earlier programs gave."""

_private: set[Path] = set()


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error on `path` into a `StorageError` that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        what = remedy(error, "free or enlarge the disk, or make the folder writable")
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; {what}, then run the same command again"
        ) from error


@contextlib.contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """The same for what is only read."""
    try:
        yield
    except OSError as error:
        what = remedy(error, "check the disk")
        raise StorageError(f"cannot read {path}: {error.strerror or error}; {what}") from error


def keep_private(folder: Path) -> None:
    """From now on, should this process make `folder`, then for its owner alone (0700)."""
    _private.add(folder.absolute())


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing; raises `OSError`."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
        if folder == folder.parent:
            break
    for one in reversed(missing):
        one.mkdir(0o700 if one.absolute() in _private else 0o777, exist_ok=True)


def write_atomic(
    path: Path,
    data: bytes,
    check: Callable[[Path], object] | None = None,
    *,
    settle: bool = True,
    mode: int = 0o666,
) -> None:
    """Write `data` to `path` so that a reader sees the old file or the whole new one, never a part.

    `check` is given the written file before it gets its name; when it raises, the name is not given. `settle` waits
    until the disk has it; `mode` is what its permissions may be at most. Raises `StorageError` when the disk is full or
    the folder read-only; nothing is left behind then.
    """
    with writing(path, check, settle=settle, mode=mode) as file:
        file.write(data)


@contextlib.contextmanager
def writing(
    path: Path, check: Callable[[Path], object] | None = None, *, settle: bool = True, mode: int = 0o666
) -> Iterator[BinaryIO]:
    """The same for what is written bit by bit: the file gets its name when the block ends well."""
    with storage_errors(path):
        make_folder(path.parent)
        partial, handle = _begin(path.parent, lambda one: _new_file(one, mode))
        try:
            with os.fdopen(handle, "w+b") as file:
                yield file
                file.flush()
                if settle:
                    os.fsync(handle)
                if check is not None:
                    check(partial)
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def making(folder: Path, *, settle: bool = True) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when the block ends well.

    Raises `InputError` when something of that name is there by then, `StorageError` as `write_atomic` does.
    """
    with storage_errors(folder), scratch(folder.parent) as partial:
        yield partial
        if settle:
            for path in partial.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
        try:
            partial.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            raise InputError(f"{folder} exists already; name a folder that does not") from error


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder in `parent` for as long as the block takes; those of killed processes beside it go."""
    with storage_errors(parent):
        make_folder(parent)
        sweep(parent, deep=False)
        partial, handle = _begin(parent, _new_folder)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(handle)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A folder whose files take their places in `folder`, over those of the same names, when the block ends well.

    One by one, those of its own level last: what tells a reader that the rest is there belongs on it.
    """
    with storage_errors(folder), scratch(folder) as partial:
        yield partial
        files = [path.relative_to(partial) for path in partial.rglob("*") if path.is_file()]
        for name in sorted(files, key=lambda one: (-len(one.parts), one)):
            make_folder((folder / name).parent)
            (partial / name).replace(folder / name)


def own_folder(folder: Path) -> None:
    """Make a folder that nobody else may enter; raises `StorageError` for a link or what somebody else put there."""
    with storage_errors(folder):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            what = "belongs to another user" if stat.S_ISDIR(found.st_mode) else "is a link or a file"
            raise StorageError(
                f"{folder} {what}, so others could reach what is written there; delete it, or set TMPDIR to a folder "
                f"of your own"
            )
        if found.st_mode & 0o077:
            folder.chmod(0o700)


def temporary(name: str) -> Path:
    """This user's own folder of that name in the machine's temporary folder; raises as `own_folder` does."""
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    own_folder(folder)
    return folder


def partial_name() -> str:
    """A new name for something half made."""
    return f".{uuid.uuid4().hex}.partial"


def is_partial(path: Path) -> bool:
    """Whether it has the name of something half made."""
    return _NAME.fullmatch(path.name) is not None or _OLDER.fullmatch(path.name) is not None


def partials(folder: Path) -> Iterator[Path]:
    """Everything below `folder`, in no order, that has the name of something half made; nothing inside of those."""
    for root, folders, names in os.walk(folder):
        yield from (Path(root, name) for name in (*folders, *names) if is_partial(Path(name)))
        folders[:] = [name for name in folders if not is_partial(Path(name))]


def leftovers(folder: Path) -> list[Path]:
    """What killed processes left half made anywhere below `folder`; what is being made is not among it."""
    return sorted(path for path in partials(folder) if not held(path))


def held(path: Path) -> bool:
    """Whether a living process is making it; so does whatever cannot be opened count."""
    handle = _take(path)
    if handle is None:
        return True
    os.close(handle)
    return False


def discard(path: Path) -> bool:
    """Delete a leftover, unless it is being made; whether it is gone. Raises `OSError`."""
    handle = _take(path)
    if handle is None:
        return not os.path.lexists(path)
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    finally:
        os.close(handle)
    return True


def sweep(folder: Path, *, deep: bool = True) -> None:
    """Delete what killed processes left half made below `folder`, or in itself only; what is being made stays."""
    try:
        found = leftovers(folder) if deep else [path for path in folder.iterdir() if is_partial(path)]
    except OSError:
        return
    for path in found:
        with contextlib.suppress(OSError):
            discard(path)


def taken(handle: int) -> bool:
    """Take the lock of an open file if nobody has it; the kernel takes it back from whoever dies."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _begin(parent: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Something new and its descriptor, which holds the lock."""
    while True:
        partial = parent / partial_name()
        handle = make(partial)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: nothing is ever swept there
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Between making and locking it looks like a leftover to whoever sweeps at that moment.
            if partial.exists():
                return partial, handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _new_file(path: Path, mode: int) -> int:
    # With the user's usual permissions, which mkstemp would narrow.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def _new_folder(path: Path) -> int:
    while True:
        path.mkdir()
        with contextlib.suppress(FileNotFoundError):  # swept since
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _take(path: Path) -> int | None:
    """A descriptor of a leftover that holds its lock, or None for what is being made, is gone or cannot be opened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.is_dir() and _NAME.fullmatch(path.name) is None:
            # The databases of earlier programs are held by this kind of lock alone.
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
