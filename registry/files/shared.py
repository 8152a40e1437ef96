"""Where basis files lie: in the home, and where the home says so also in a shared store that fsspec can reach.

HOME/store.json names the shared store (a folder on a network drive, `s3://bucket/prefix`, ...) and the type that
vectors are stored in. With a shared store the home's own `bases` folder is a copy of what this machine wrote or
read: files go to both, and one that is missing here is fetched, verified, and kept.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from loco.errors import InputError, StorageError
from loco.files import partial_name, reading_errors, write_atomic
from loco.outside import regular_bytes
from loco.urls import secret
from registry.files import checked
from registry.home import Home

DTYPES = ("float32", "float16")
"""Types that vectors may be stored in; they are float32 again when they are read."""


@dataclass(frozen=True)
class Settings:
    """How a home stores basis files: the shared store's URL or None, and the type of the vectors."""

    artifacts: str | None = None
    dtype: str = "float32"


def settings(home: Home) -> Settings:
    """The home's settings; those of a home that has none are the defaults.

    Raises `Damaged` for a file that does not say them, `NewerFormat` for one of a newer program.
    """
    path = settings_path(home)
    with reading_errors(path):
        try:
            data = regular_bytes(path)
        except FileNotFoundError:
            return Settings()
    with checked.explained("settings", path, "delete it and set the store again with `loco registry store`"):
        found = checked.parse(Settings, data, most=1 << 20)
        if found.dtype not in DTYPES:
            raise checked.Unfit(f"its dtype is {found.dtype!r}, expected {' or '.join(DTYPES)}")
    return found


def configure(home: Home, *, artifacts: str | None = None, dtype: str | None = None) -> Settings:
    """Change the given settings; `artifacts` may be empty for none. What lies here already is not moved.

    Raises `InputError` for a type that there is not and for a URL that fsspec does not know or cannot reach.
    """
    now = settings(home)
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype: expected {' or '.join(DTYPES)}, found {dtype!r}")
    new = Settings(
        now.artifacts if artifacts is None else (_absolute(artifacts) if artifacts else None),
        dtype or now.dtype,
    )
    if new.artifacts is not None and secret(new.artifacts):
        raise InputError(
            f"shared store: {new.artifacts} has a password or a signature in it, which would be stored in plain text; "
            f"leave it out and say it in the environment, such as FSSPEC_SFTP_PASSWORD, or in ~/.config/fsspec"
        )
    if new.artifacts is not None and new.artifacts != now.artifacts:
        Shared(new.artifacts).ids()
    write_atomic(settings_path(home), checked.sealed(asdict(new)))
    return new


def settings_path(home: Home) -> Path:
    """The file of the settings."""
    return home.root / "store.json"


def shared(home: Home) -> "Shared | None":
    """The home's shared store, if it has one."""
    url = settings(home).artifacts
    return None if url is None else Shared(url)


class Shared:
    """Basis files at a URL, under the same names as in a home: `ab/<id>.safetensors`."""

    def __init__(self, url: str) -> None:
        """Raises `InputError` for a URL of no known kind."""
        from fsspec.core import url_to_fs

        self.url = url
        try:
            self._files, root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"shared store: expected a folder or a URL that fsspec knows and whose package is installed, "
                f"found {url!r}: {error}"
            ) from error
        self._root = str(root).rstrip("/")

    def place(self, basis_id: str) -> str:
        """Where the file of that basis lies in the store."""
        return f"{self._root}/{basis_id[:2]}/{basis_id}.safetensors"

    def has(self, basis_id: str) -> bool:
        """Whether the store has a file of that basis."""
        return bool(self._try(lambda: self._files.isfile(self.place(basis_id))))

    def ids(self) -> set[str]:
        """Ids of all basis files in the store."""

        def look() -> list[str]:
            self._files.invalidate_cache()
            return self._files.find(self._root) if self._files.isdir(self._root) else []

        names = [str(path).rsplit("/", 1)[-1] for path in self._try(look)]
        return {name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")}

    def get(self, basis_id: str) -> bytes:
        """The bytes of a basis file; raises `StorageError` when there is none."""
        return bytes(self._try(lambda: self._read(self.place(basis_id))))

    def _read(self, place: str) -> bytes:
        from fsspec.implementations.local import LocalFileSystem

        if isinstance(self._files, LocalFileSystem):
            return regular_bytes(Path(place))  # a named pipe would never end
        return bytes(self._files.cat_file(place))

    def since(self, basis_id: str) -> datetime | None:
        """When the file came there, or None where the store does not know."""
        try:
            return cast(datetime, self._try(lambda: self._files.modified(self.place(basis_id))))
        except NotImplementedError:
            return None

    def put(self, basis_id: str, data: bytes) -> None:
        """Write a basis file: beside, then renamed, so that a reader sees all of it or none."""
        place = self.place(basis_id)
        beside = f"{place.rsplit('/', 1)[0]}/{partial_name()}"

        def work() -> None:
            self._files.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
            self._files.pipe_file(beside, data)
            self._files.mv(beside, place)

        self._try(work)

    def delete(self, basis_id: str) -> None:
        """Delete a basis file."""
        self._try(lambda: self._files.rm_file(self.place(basis_id)))

    def _try(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except FileNotFoundError as error:
            raise StorageError(
                f"the shared store {self.url} has no {error}; run the same discover again"
            ) from error
        except OSError as error:
            raise StorageError(
                f"cannot use the shared store {self.url}: {error.strerror or error}; check the connection and "
                f"the access rights, then run the same command again"
            ) from error


def _absolute(url: str) -> str:
    return url if "://" in url else str(Path(url).expanduser().absolute())
