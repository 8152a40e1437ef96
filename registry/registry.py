"""The catalogue of one home: what was found, with which evidence, and where it lies.

Files come first and are the truth; the database is an index over them that `reindex` can rebuild. Every
operation opens, works, commits and closes, so that any number of processes can share a catalogue.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from loco.direction import Basis, Direction
from loco.errors import InputError, StorageError, UnknownName
from registry import check, files, manifests, queries, rebuild, rows
from registry.home import Home
from registry.records import DatasetRecord, EditItem, ModelRecord, Problem, RunRecord
from registry.session import Catalogue
from registry.store import basis_path, check_id, read_basis, read_header, vectors_of, write_basis


class Registry:
    """The catalogue and the files of one home. Nothing is opened or created before it is needed.

    Any method may raise `RegistryBusy` (another process holds the catalogue for longer than the timeout),
    `StorageError` (the disk) or `RegistryError` (the database), each naming the remedy. A home without a
    catalogue reads as an empty one.
    """

    def __init__(self, home: Home, url: str | None = None, *, timeout: float = 30.0) -> None:
        """Take the catalogue at the SQLAlchemy `url`, by default the home's own file.

        `timeout` is in seconds. Raises `InputError` for a URL that is none.
        """
        self.home = home
        self._catalogue = Catalogue(home.catalogue, url, timeout)

    # Models and datasets

    def add_model(self, record: ModelRecord) -> None:
        """Register a model under its name, in place of any other of that name.

        Directions refer to a model's id and stay. Raises `InputError` for a name that cannot be a file's.
        """

        def work(session: Session) -> None:
            # The file inside the lock: of two processes, the last file and the last row are the same one's.
            files.write_model(self.home, record)
            rows.put_model(session, record)

        _check_record(record)
        self._catalogue.write(work)

    def model(self, name: str) -> ModelRecord:
        """The model of that name; raises `UnknownName` listing those there are."""
        known = {record.name: record for record in self.models()}
        if name not in known:
            raise queries.unknown("model", name, known)
        return known[name]

    def models(self) -> list[ModelRecord]:
        """All models, by name."""
        return self._catalogue.read(queries.models, [])

    def add_dataset(self, record: DatasetRecord) -> None:
        """Register a dataset under its name, in place of any other of that name.

        Raises `InputError` for a name that cannot be a file's.
        """

        def work(session: Session) -> None:
            files.write_dataset(self.home, record)
            rows.put_dataset(session, record)

        _check_record(record)
        self._catalogue.write(work)

    def dataset(self, name: str) -> DatasetRecord:
        """The dataset of that name, with its images; raises `UnknownName` listing those there are."""
        found = self._catalogue.read(lambda session: queries.datasets(session, name), list[DatasetRecord]())
        if not found:
            raise queries.unknown("dataset", name, self._catalogue.read(queries.dataset_names, []))
        return found[0]

    def datasets(self) -> list[DatasetRecord]:
        """All datasets with their images, by name."""
        return self._catalogue.read(queries.datasets, [])

    # Bases and directions

    def add(self, *bases: Basis) -> None:
        """Write the bases' files, then their rows in one transaction; what is known already costs nothing.

        When a sound file of a basis' id is there already it stays, and its evidence is what is catalogued.
        Raises `InputError` for a basis that does not fit together.
        """
        headers = [read_header(write_basis(self.home, basis)) for basis in bases]
        if headers:
            self._catalogue.write(lambda session: rows.put_bases(session, headers))

    def index(self, *basis_ids: str) -> None:
        """The rows of bases whose files were written before, as those files tell them.

        Raises `StorageError` when a file is missing. Checksums are verified when vectors are read.
        """
        headers = []
        for basis_id in basis_ids:
            path = basis_path(self.home, basis_id)
            header = read_header(path)
            if header.body.get("id") != basis_id:
                raise StorageError(
                    f"basis file {path} holds another basis; `loco registry verify` tells which"
                )
            headers.append(header)
        if headers:
            self._catalogue.write(lambda session: rows.put_bases(session, headers))

    def known(self, direction_ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in the catalogue and whose basis file exists."""
        ids = list(direction_ids)
        if not ids:
            return set()
        holders = self._catalogue.read(lambda session: queries.known(session, ids), dict[str, list[str]]())
        exists = {
            basis_id: self.home.basis(basis_id).is_file()
            for basis_id in {one for several in holders.values() for one in several}
        }
        return {key for key, several in holders.items() if any(exists[basis_id] for basis_id in several)}

    def find(
        self,
        *,
        model: str | None = None,
        dataset: str | None = None,
        roi: str | None = None,
        image: str | None = None,
        t: float | tuple[float, float] | None = None,
        min_gain: float | None = None,
        max_leakage: float | None = None,
        min_retained: float | None = None,
        converged: bool | None = None,
        sort: str = "-gain",
        limit: int | None = None,
    ) -> list[Direction]:
        """Directions that pass all given filters, sorted; no vector is loaded.

        Args:
            model: A model's name, id, or the beginning of one.
            dataset: A dataset's name: directions found on its images.
            roi: The region's name.
            image: An image's name, or the beginning of its id. One that nothing answers to finds nothing.
            t: One noise level, or the lowest and the highest.
            min_gain: Least `gain`.
            max_leakage: Greatest `leakage`.
            min_retained: Least `retained`.
            converged: Only those that did (True) or did not (False) converge.
            sort: A field of `Direction`, with `-` before it for the greatest first. Ties go by id.
            limit: At most so many.

        Raises `UnknownName` for a model or dataset that is not there, `InputError` for a bad sort or limit.
        """
        return self._catalogue.read(
            lambda session: queries.find(
                session,
                model=model,
                dataset=dataset,
                roi=roi,
                image=image,
                t=t,
                min_gain=min_gain,
                max_leakage=max_leakage,
                min_retained=min_retained,
                converged=converged,
                sort=sort,
                limit=limit,
            ),
            [],
        )

    def direction(self, id_or_prefix: str) -> Direction:
        """The direction whose id begins so (6 characters or more).

        Raises `UnknownName` when the prefix is too short, fits none, or fits several (which it lists).
        """
        prefix = queries.check_prefix(id_or_prefix, "direction")
        found = self._catalogue.read(
            lambda session: queries.directions_like(session, prefix), list[Direction]()
        )
        described = [(one.id, f"{one.roi} {one.index}, t {one.t:g}, gain {one.gain:.3g}") for one in found]
        queries.only("direction", prefix, described, "loco directions list")
        return found[0]

    def basis(self, basis_id: str) -> Basis:
        """The basis of that id with its arrays, from its file.

        Raises `UnknownName` for what is no id, `StorageError` when the file is missing, `Damaged` when it is.
        """
        try:
            path = basis_path(self.home, basis_id)
        except InputError as error:
            raise UnknownName(str(error)) from error
        return read_basis(path)

    def vectors(self, directions: Sequence[Direction]) -> NDArray[np.float32]:
        """The directions' vectors [k, C, H, W] float32, in the order given; each basis file is read once.

        Raises `InputError` when there are none or their shapes differ, `StorageError` when a file is missing
        or holds something else.
        """
        shapes = {direction.shape for direction in directions}
        if len(shapes) != 1:
            found = ", ".join(str(shape) for shape in sorted(shapes)) or "no direction at all"
            raise InputError(f"directions to be used together must be of one shape, found {found}")
        wanted: dict[str, dict[str, int]] = {}
        for direction in directions:
            wanted.setdefault(direction.basis_id, {})[direction.id] = direction.row
        found_vectors: dict[str, NDArray[np.float32]] = {}
        for basis_id, places in wanted.items():
            found_vectors.update(vectors_of(basis_path(self.home, basis_id), places))
        return np.stack([found_vectors[direction.id] for direction in directions])

    def image_name(self, image_id: str) -> str | None:
        """The name of the image with that sha256, or None when it was never seen."""
        return self._catalogue.read(lambda session: queries.image_name(session, image_id), None)

    # Runs and edits

    def start_run(self, record: RunRecord) -> None:
        """Write the run's line to its manifest, then its row; raises `InputError` for an id that is none."""
        _check_times(record.started_at, record.finished_at)
        manifests.append(self.home, record.id, [manifests.run_line(record)])
        self._catalogue.write(lambda session: rows.put_run(session, record))

    def finish_run(self, record: RunRecord) -> None:
        """The same at the run's end (or at any change of its state): the last line counts."""
        self.start_run(record)

    def runs(self, kind: str | None = None) -> list[RunRecord]:
        """All runs (of a kind), the latest first."""
        return self._catalogue.read(lambda session: queries.runs(session, kind), [])

    def run(self, id_or_prefix: str) -> RunRecord:
        """The run whose id begins so; raises `UnknownName` as `direction` does."""
        prefix = queries.check_prefix(id_or_prefix, "run")
        found = self._catalogue.read(lambda session: queries.runs_like(session, prefix), list[RunRecord]())
        described = [(one.id, f"{one.kind}, {one.status}, started {one.started_at}") for one in found]
        queries.only("run", prefix, described, "loco jobs list")
        return found[0]

    def add_edits(self, edits: Iterable[EditItem], *, logged: bool = False) -> None:
        """Write the edits' lines to their runs' manifests, then their rows in one transaction.

        With `logged` the lines were written before and only the rows are added. An edit that its run has
        already is replaced. Raises `InputError` for ids that are none.
        """
        by_run: dict[str, list[EditItem]] = {}
        for edit in edits:
            check_id(edit.id, "edit")
            by_run.setdefault(check_id(edit.run_id, "run"), []).append(edit)

        def work(session: Session) -> None:
            for run_id, items in by_run.items():
                rows.put_edits(session, run_id, items)

        if not by_run:
            return
        if not logged:
            for run_id, items in by_run.items():
                manifests.append(self.home, run_id, map(manifests.edit_line, items))
        self._catalogue.write(work)

    def edits(self, run_id: str | None = None) -> list[EditItem]:
        """All output images (of a run), by run, image name and id."""
        return self._catalogue.read(lambda session: queries.edits(session, run_id), [])

    def known_edits(self, ids: Iterable[str]) -> dict[str, EditItem]:
        """Those of the edits that are in the catalogue; of several runs' the latest run's."""
        wanted = list(ids)
        return self._catalogue.read(lambda session: queries.known_edits(session, wanted), {})

    # Upkeep

    def verify(self) -> list[Problem]:
        """Everything in which catalogue and files disagree or are damaged; empty when all is well."""
        return check.verify(self._catalogue, self.home)

    def migrate(self) -> list[str]:
        """Bring a catalogue of an older program to the present tables; returns the steps that were done.

        Raises `RegistryError` for one of a newer program.
        """
        return self._catalogue.migrate()

    def reindex(self) -> dict[str, int]:
        """Rebuild the catalogue from the files; returns `summary`'s counts and that of `damaged` files."""
        return rebuild.reindex(self._catalogue, self.home)

    def summary(self) -> dict[str, int]:
        """How many models, datasets, images, rois, runs, bases, directions and edits there are."""
        return self._catalogue.read(queries.summary, dict.fromkeys(queries.COUNTED, 0))


def _check_record(record: ModelRecord | DatasetRecord) -> None:
    """Refuse a bad name or time before anything is locked or written."""
    files.check_name(record.name, "model" if isinstance(record, ModelRecord) else "dataset")
    rows.utc(record.added_at)


def _check_times(*times: str | None) -> None:
    for time in times:
        if time is not None:
            rows.utc(time)
