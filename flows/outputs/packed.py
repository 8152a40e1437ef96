"""Outputs that are members of shards: staged one by one, packed when all of a shard's are there.

A member is staged under the hash of its name, then told of in the manifest, as a single file is. A shard is written
beside and renamed once nothing of it is left to be made; with what it held before, if the manifest vouches for that.
So a kill costs what was on its way, a shard is never seen half written, and each member is in it once. What is staged
lies beside the shards (of a URL, in the home) and goes when it is packed.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flows.inputs.places import Source
from flows.inputs.shards import contained
from flows.inputs.sources import Fetcher
from flows.outputs.forms import Form, folder_of, member_of, shard_of
from flows.outputs.outputs import MANIFEST, Outputs
from flows.outputs.packing import Member, write_shard
from flows.outputs.spool import Spool
from loco.errors import ImageError, StorageError
from loco.files import make_folder, storage_errors, sweep, write_atomic, writing
from loco.ids import bytes_id, content_id, file_id
from loco.outside import regular_bytes
from registry.files.staged import staged, staging_folder
from registry.home import Home


def outputs_at(home: Home, where: Path | str, manifest: str, form: Form) -> Outputs:
    """The outputs of a run, in their form. Raises `InputError` for a manifest's name that is none."""
    return Packed(home, where, manifest, form) if form.shards else Outputs(home, where, manifest)


class Packed(Outputs):
    """Shards in a folder or at a URL, or the one file that was named."""

    def __init__(self, home: Home, where: Path | str, manifest: str, form: Form) -> None:
        """Nothing is created before `prepare`. Raises `InputError` for a manifest's name that is none."""
        if form.one and manifest == MANIFEST:
            manifest = f"{form.one}.{MANIFEST}"
        super().__init__(home, folder_of(where, form), manifest)
        self._form = form
        if self._folder is not None:
            self._staged = staging_folder(self._folder, form.one)
        else:
            self._staged = home.root / "outputs" / f"{content_id('outputs', [self.where, form.one])}.staged"
        self._wanted: set[str] | None = None
        self._held: dict[str, dict[str, Source]] = {}
        self._fetcher = Fetcher()

    def file_of(self, output: str) -> str:
        """Its shard, or itself where that is asked for."""
        return shard_of(output)

    @property
    def own(self) -> tuple[Path, ...]:
        """What a listing of images passes over."""
        if self._folder is None or not self._form.one:
            return super().own
        return self._folder / self._form.shard("", 0), self._table

    def prepare(self) -> None:
        """Make the folder, and clear what a killed run left half written; raises `StorageError`."""
        if self._folder is None:
            super().prepare()
        with storage_errors(self._staged):
            make_folder(self._staged)
        sweep(self._staged)
        if self._folder is not None:
            sweep(self._folder, deep=not self._form.one)

    def refuse(self, shards: Iterable[str]) -> None:
        """Raise `StorageError` where one of these shards is somebody else's."""
        for one in sorted(super().foreign((f"{shard}:" for shard in shards), ())):
            raise self.taken(one)

    def write(self, output: str, data: bytes) -> None:
        """Stage one member whole, or not at all; raises `StorageError`."""
        path = self._stage(output)
        while True:
            try:
                # Not waited for: its checksum is looked at when it is packed.
                return write_atomic(path, data, settle=False)
            except StorageError as error:
                if not isinstance(
                    error.__cause__, FileNotFoundError
                ):  # else another run's end took the folder
                    raise

    def sound(self, output: str, checksum: str) -> bool:
        """Whether the member is staged or packed with these bytes."""
        return self._has_staged(output, checksum) or self._packed(output, checksum) is not None

    def foreign(self, outputs: Iterable[str], ours: Iterable[str]) -> set[str]:
        """The shards of the outputs that are somebody else's; raises `StorageError`."""
        outputs = list(outputs)
        with self._lock:
            self._wanted = {member_of(one) for one in outputs}
        return super().foreign(outputs, ours)

    def log(self, *told: dict[str, Any]) -> None:
        """Append lines that tell shard and member too; raises `StorageError`."""
        super().log(
            *(
                line | {"shard": shard_of(line["output"]), "member": member_of(line["output"])}
                for line in told
            )
        )

    def pack(self, shard: str, spool: Spool) -> None:
        """Write the shard with all that is staged for it and what it held; nothing where nothing is staged.

        Raises `StorageError`, also where it is somebody else's or something staged is not what was written.
        """
        if not any(self._stage(output).is_file() for output, _, _ in spool.members(shard)):
            return
        with self._alone():
            self._held.pop(shard, None)
            if any(not spool.vouches(f"{shard}:{name}") for name in self._members(shard)):
                self.look(spool)  # other programs' since the manifest was read
                if any(not spool.vouches(f"{shard}:{name}") for name in self._members(shard)):
                    raise self.taken(shard)
            everything = ((output, checksum) for output, checksum, _ in spool.members(shard))
            if not all(
                self._packed(*one) for one in everything
            ):  # else a kill came between packing and deleting
                self._write_shard(shard, spool)
            self.close()  # it may have the old one open
            for output, _, _ in spool.members(shard):
                self._stage(output).unlink(missing_ok=True)

    def _write_shard(self, shard: str, spool: Spool) -> None:
        path = self._staged / "whole" if self._folder is None else self._folder / shard
        with writing(path) as file:
            write_shard(self._form.shards, file, self._every(shard, spool))
        if self._folder is None:
            files, root = self._remote()
            with storage_errors(Path(self.path(shard))):
                files.makedirs(f"{root}/{shard}".rpartition("/")[0], exist_ok=True)
                files.put_file(str(path), f"{root}/{shard}")
            path.unlink()

    def _every(self, shard: str, spool: Spool) -> Iterator[Member]:
        for output, checksum, seen in spool.members(shard):
            if self._has_staged(output, checksum):
                data: bytes | None = regular_bytes(self._stage(output))
            else:
                data = self._packed(output, checksum)
            if data is not None:
                yield member_of(output), data
            elif seen:
                raise StorageError(
                    f"{self.path(output)}: what was staged in {self._staged} is no longer what was written; "
                    f"run the same command again"
                )

    def settle(self, spool: Spool) -> None:
        """The manifest and its table; and the folder of what is staged goes, where it is empty."""
        super().settle(spool)
        with suppress(OSError):
            self._staged.rmdir()

    def close(self) -> None:
        """Close what is open."""
        self._fetcher.close()
        self._fetcher, self._held = Fetcher(), {}

    def _stage(self, output: str) -> Path:
        return staged(self._staged, output)

    def _has_staged(self, output: str, checksum: str) -> bool:
        path = self._stage(output)
        try:
            return path.is_file() and file_id(path) == checksum
        except OSError:
            return False

    def _packed(self, output: str, checksum: str) -> bytes | None:
        """The bytes of a member, where the shard has it with this checksum."""
        source = self._members(shard_of(output)).get(member_of(output))
        if source is None:
            return None
        try:
            data = self._fetcher.read(source)
        except ImageError:
            return None
        return data if bytes_id(data) == checksum else None

    def _members(self, shard: str) -> dict[str, Source]:
        """What the shard holds, by name: all of it, or what this chunk may ask for."""
        with self._lock:
            if shard not in self._held:
                there = self._exists(shard)
                found = contained(self.path(shard), "in", every=True) if there else iter(())
                names = ((one.name.removeprefix("in/"), one) for one in found)
                self._held[shard] = {
                    name: one for name, one in names if self._wanted is None or name in self._wanted
                }
            return self._held[shard]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else packs here at the same time."""
        with storage_errors(self._staged):
            handle = self._locked()
        try:
            yield
        finally:
            os.close(handle)

    def _locked(self) -> int:
        while True:
            make_folder(self._staged)
            with suppress(FileNotFoundError):
                handle = os.open(self._staged, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(handle, fcntl.LOCK_EX)
                if os.fstat(handle).st_ino == self._staged.stat().st_ino:
                    return handle
                os.close(handle)
