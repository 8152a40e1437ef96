"""The catalogue of one home: what was found, with which evidence, and where it lies.

Files come first and are the truth; the database is an index over them that `reindex` can rebuild. Every
operation opens, works, commits and closes, so that any number of processes can share a catalogue.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from loco.direction import Basis, Direction
from loco.errors import InputError, UnknownName
from loco.ids import ID_LENGTH, check_id, is_id
from registry.alike import plane
from registry.alike import similar as similarity
from registry.alike.plane import Plane
from registry.alike.similar import Pair, Similar
from registry.files import history, manifests, registered
from registry.files import transfers as told
from registry.files.basis import (
    basis_path,
    entry_of,
    holds,
    read_basis,
    read_entry,
    stacked_vectors,
    write_basis,
)
from registry.home import Home
from registry.index import browsing, events, names, queries, rows, selection
from registry.index import runs as run_rows
from registry.index.browsing import Facet, Page, Told
from registry.index.selection import Filters, chosen
from registry.index.session import Catalogue
from registry.records import (
    DatasetRecord,
    EditItem,
    Event,
    ImageRecord,
    ModelRecord,
    Problem,
    RunRecord,
    Score,
    Transfer,
    utc,
)
from registry.sql import question as sql
from registry.sql.question import Limits, Reader
from registry.upkeep import exchange, gc, reindex, sending, snapshot, verify
from registry.upkeep.exchange import Exported, Imported
from registry.upkeep.gc import Garbage

if TYPE_CHECKING:
    import duckdb
    import pyarrow


class Registry:
    """The catalogue and the files of one home. Nothing is opened or created before it is needed.

    Any method may raise `RegistryBusy` (another process holds the catalogue for longer than the timeout),
    `StorageError` (the disk) or `RegistryError` (the database), each naming the remedy. A home without a
    catalogue reads as an empty one.
    """

    def __init__(self, home: Home, url: str | None = None, *, timeout: float | None = None) -> None:
        """Take the catalogue at the SQLAlchemy `url`, by default the home's own file.

        `timeout` is in seconds; by default `LOCO_WAIT` says it, else it is ten minutes. Raises `InputError` for a URL
        that is none.
        """
        self.home = home
        self.catalogue = Catalogue(home.catalogue, url, timeout)

    # Models and datasets

    def add_model(self, record: ModelRecord) -> None:
        """Register a model under its name, in place of any other of that name.

        Directions refer to a model's id and stay. Raises `InputError` for a name that cannot be a file's.
        """

        def work(session: Session) -> None:
            # The file inside the lock: of two processes, the last file and the last row are the same one's.
            registered.write_model(self.home, record)
            rows.put_model(session, record)

        _check_record(record)
        self.catalogue.write(work)

    def remove_model(self, name: str) -> None:
        """Forget a model's name; its weights, and what was found with it, stay. Raises `UnknownName`."""

        def work(session: Session) -> None:
            registered.forget(self.home.models, name, "model")
            rows.drop_model(session, name)

        self.model(name)
        self.catalogue.write(work)

    def model(self, name: str) -> ModelRecord:
        """The model of that name; raises `UnknownName` listing those there are."""
        known = {record.name: record for record in self.models()}
        if name not in known:
            raise queries.unknown("model", name, known)
        return known[name]

    def models(self) -> list[ModelRecord]:
        """All models, by name."""
        return self.catalogue.read(queries.models, [])

    def add_dataset(self, record: DatasetRecord) -> None:
        """Register a dataset under its name, in place of any other of that name.

        Raises `InputError` for a name that cannot be a file's.
        """

        def work(session: Session) -> None:
            registered.write_dataset(self.home, record)
            rows.put_dataset(session, record)

        _check_record(record)
        self.catalogue.write(work)

    def remove_dataset(self, name: str) -> None:
        """Forget a dataset; its images, and what was found in them, stay. Raises `UnknownName`."""

        def work(session: Session) -> None:
            registered.forget(self.home.datasets, name, "dataset")
            rows.drop_dataset(session, name)

        self.dataset(name, pictured=False)
        self.catalogue.write(work)

    def dataset(self, name: str, *, pictured: bool = True) -> DatasetRecord:
        """The dataset of that name, with its images unless not `pictured`.

        Raises `UnknownName` listing those there are.
        """
        found = self.catalogue.read(
            lambda session: queries.datasets(session, name, pictured=pictured), list[DatasetRecord]()
        )
        if not found:
            raise queries.unknown("dataset", name, self.catalogue.read(queries.dataset_names, []))
        return found[0]

    def datasets(self, *, pictured: bool = True) -> list[DatasetRecord]:
        """All datasets, with their images unless not `pictured`, by name."""
        return self.catalogue.read(lambda session: queries.datasets(session, pictured=pictured), [])

    def images(self, dataset: DatasetRecord, start: int, count: int) -> list[ImageRecord]:
        """At most `count` of the dataset's images, from position `start` on: any number fits a page at a time.

        Raises `InputError` when the dataset was added anew since `dataset` was read.
        """
        rows = self.catalogue.read(
            lambda session: queries.images(session, dataset.name, start, count),
            list[tuple[str, ImageRecord]](),
        )
        if any(dataset_id != dataset.id for dataset_id, _ in rows):
            raise InputError(
                f"dataset {dataset.name!r} was added anew while it was read; run the same command again"
            )
        return [image for _, image in rows]

    def image_counts(self) -> dict[str, int]:
        """How many images each dataset has, by its name; without reading them."""
        return self.catalogue.read(queries.image_counts, {})

    # Bases and directions

    def add(self, *bases: Basis) -> None:
        """Write the bases' files, then their rows in one transaction; what is known already costs nothing.

        When a sound file of a basis' id is there already it stays, and its evidence is what is catalogued.
        Raises `InputError` for a basis that does not fit together.
        """
        entries = [read_entry(write_basis(self.home, basis)) for basis in bases]
        if entries:
            self.catalogue.write(lambda session: rows.put_bases(session, entries))

    def index(self, *basis_ids: str) -> None:
        """The rows of bases whose files were written before, as those files tell them.

        Raises `StorageError` when a file is missing. One whose arrays are damaged is taken by its header: reading
        its vectors raises, and `verify` names it.
        """
        entries = [entry_of(self.home, basis_id) for basis_id in basis_ids]
        if entries:
            self.catalogue.write(lambda session: rows.put_bases(session, entries))

    def known(self, direction_ids: Iterable[str]) -> set[str]:
        """Those of the ids that are in the catalogue and whose basis file exists."""
        return set(self.holders(direction_ids))

    def holders(self, direction_ids: Iterable[str]) -> dict[str, str]:
        """For each of the ids that `known` gives: the basis that holds it, of several the one of smallest id."""
        ids = list(direction_ids)
        if not ids:
            return {}
        holders = self.catalogue.read(lambda session: queries.known(session, ids), dict[str, list[str]]())
        exists = {
            basis_id: holds(self.home, basis_id)
            for basis_id in {one for several in holders.values() for one in several}
        }
        there = {key: [one for one in several if exists[one]] for key, several in holders.items()}
        return {key: min(several) for key, several in there.items() if several}

    def find(self, **filters: Unpack[Filters]) -> list[Direction]:
        """Directions that pass all given filters (see `Filters`), sorted; no vector is loaded.

        Without `sort` the strongest come first, without `status` those that were rejected stay away.
        Raises `UnknownName` for a model or dataset that is not there, `InputError` for what cannot be asked.
        """
        return self.catalogue.read(
            lambda session: [rows.direction_of(row) for row in session.scalars(chosen(session, filters))], []
        )

    def beside(self, directions: Sequence[Direction]) -> dict[str, dict[str, Any]]:
        """What others tell of directions, by their ids: names, labels, transfer (`registry.index.names.beside`)."""
        ids = [one.id for one in directions]
        return self.catalogue.read(lambda session: names.told(session, ids), {})

    def table(self, **filters: Unpack[Filters]) -> "pyarrow.Table":
        """The same as an Arrow table, with all columns of the catalogue and the path of each basis file."""
        from registry.index import outputs

        return outputs.table(self.catalogue, self.home, filters)

    def relation(self, **filters: Unpack[Filters]) -> "duckdb.DuckDBPyRelation":
        """The same as a DuckDB relation over that table; the catalogue is not held meanwhile."""
        import duckdb

        return duckdb.from_arrow(self.table(**filters))

    def count(self, **filters: Unpack[Filters]) -> int:
        """How many directions pass the filters."""
        return self.catalogue.read(lambda session: selection.count(session, filters), 0)

    def page(self, *, start: int = 0, cursor: str | None = None, **filters: Unpack[Filters]) -> Page:
        """At most `limit` (50, up to 200) of them from position `start` on, or after the `cursor` of a page."""
        return self.catalogue.read(
            lambda session: browsing.page(session, filters, start=start, cursor=cursor),
            Page([], 0, None if cursor else start, None),
        )

    def told(self, directions: Sequence[Direction]) -> Told:
        """All that is said of directions: labels, rejections, names and transfer."""
        ids = [one.id for one in directions]
        return self.catalogue.read(lambda session: browsing.told(session, ids), Told({}, set(), {}))

    def facets(self, **filters: Unpack[Filters]) -> dict[str, list[Facet]]:
        """What could be chosen besides, column by column: each value with its count under all other filters."""
        return self.catalogue.read(lambda session: browsing.facets(session, filters), {})

    def those(self, ids: Sequence[str]) -> list[Direction]:
        """The directions of these whole ids that the catalogue has, rejected ones too, in any order."""
        return self.catalogue.read(lambda session: queries.those(session, ids), [])

    def plane(self, **filters: Unpack[Filters]) -> Plane:
        """Directions in the plane of the two main axes of all sketches."""
        return plane.plane(self.catalogue, self.home, filters)

    def ranges(self, **filters: Unpack[Filters]) -> dict[str, tuple[float, float] | None]:
        """The least and the greatest of each figure."""
        return self.catalogue.read(lambda session: browsing.ranges(session, filters), {})

    def grouped(self, *by: str, **filters: Unpack[Filters]) -> list[dict[str, Any]]:
        """Count and figures of each combination of the columns `by`, the largest group first."""
        return self.catalogue.read(lambda session: selection.grouped(session, filters, by), [])

    def direction(self, id_or_prefix: str) -> Direction:
        """The direction whose id begins so (6 characters or more), or that has this alias (`smile@prod`).

        Raises `UnknownName` when the prefix is too short, fits none, or fits several (which it lists), and for an
        alias that there is not.
        """
        if "@" in id_or_prefix:
            alias = id_or_prefix
            id_or_prefix = self.catalogue.read(
                lambda session: queries.aliased(session, alias), "0" * ID_LENGTH
            )
        prefix = queries.check_prefix(id_or_prefix, "direction")
        found = self.catalogue.read(
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
        holds(self.home, basis_id)
        return read_basis(path)

    def vectors(self, directions: Sequence[Direction]) -> NDArray[np.float32]:
        """The directions' vectors [k, C, H, W] float32, in the order given; each basis file is read once.

        Raises `InputError` when there are none or their shapes differ, `StorageError` when a file is missing
        or holds something else.
        """
        return stacked_vectors(self.home, directions)

    def image_name(self, image_id: str) -> str | None:
        """The name of the image with that sha256, or None when it was never seen."""
        return self.image_names([image_id]).get(image_id)

    def image_names(self, image_ids: Iterable[str]) -> dict[str, str]:
        """The names of these images by their sha256, as far as they were ever seen."""
        return self.catalogue.read(lambda session: queries.image_names(session, image_ids), {})

    def image_ids(self, dataset: str, names: Iterable[str]) -> dict[str, str]:
        """The sha256 of a dataset's images by their names there; names of no image are left out."""
        return self.catalogue.read(lambda session: queries.image_ids(session, dataset, names), {})

    def places(self, image_id: str) -> list[tuple[str, str, str]]:
        """Where the image of that sha256 lies: names of datasets, their folders, its names there; none is no error."""
        return self.catalogue.read(lambda session: queries.places(session, image_id), [])

    def similar(
        self, target: str, *, roi: str | None = None, model: str | None = None, limit: int = 10
    ) -> list[Similar]:
        """The directions most like `target`: a direction's id, alias or beginning, or a basis file's path.

        The most alike first, by the amount of the cosine between the vectors. Raises `UnknownName` for what is
        neither, `StorageError` when the target's own file cannot be read.
        """
        if target.endswith(".safetensors"):
            basis = read_basis(Path(target).expanduser())
            ids = {direction.row: direction.id for direction in basis.directions}
            wanted = [(ids[row], vector) for row, vector in enumerate(basis.vectors)]
        else:
            one = self.direction(target)
            wanted = [(one.id, self.vectors([one])[0])]
        return similarity.similar(self.catalogue, self.home, wanted, roi=roi, model=model, limit=limit)

    def duplicates(
        self, least: float, *, roi: str | None = None, model: str | None = None, limit: int = 100
    ) -> list[Pair]:
        """Pairs of directions whose cosine is at least `least` in amount, the most alike first."""
        return similarity.duplicates(self.catalogue, self.home, least, roi=roi, model=model, limit=limit)

    def principal_angles(self, one: str, other: str) -> list[float]:
        """Angles in degrees between what two bases span, the smallest first.

        A basis' id means all its directions, a direction's those of its region in its basis.
        """
        return similarity.principal_angles(self._span(one), self._span(other))

    def _span(self, name: str) -> NDArray[np.float32]:
        if is_id(name) and holds(self.home, name):
            return read_basis(self.home.basis(name)).vectors
        direction = self.direction(name)
        basis = self.basis(direction.basis_id)
        chosen = [one.row for one in basis.directions if one.roi_id == direction.roi_id]
        return basis.vectors[chosen]

    # What people say of directions

    def label(self, id_or_prefix: str, text: str, *, remove: bool = False, who: str | None = None) -> Event:
        """Give a direction a label, or take it away; raises `InputError` for what is no line of text."""
        return self._say("unlabel" if remove else "label", id_or_prefix, text, who)

    def alias(self, name: str, id_or_prefix: str, *, who: str | None = None) -> Event:
        """Let `name` (`smile@prod`) mean a direction from now on; it may have meant another."""
        history.check_alias(name)
        return self._say("alias", id_or_prefix, name, who)

    def unalias(self, name: str, *, who: str | None = None) -> Event:
        """Let `name` mean nothing from now on; raises `UnknownName` if it does already."""
        return self._say("unalias", history.check_alias(name), name, who)

    def reject(self, id_or_prefix: str, reason: str = "", *, who: str | None = None) -> Event:
        """Keep a direction out of what is found, until it is restored."""
        return self._say("reject", id_or_prefix, reason, who)

    def restore(self, id_or_prefix: str, reason: str = "", *, who: str | None = None) -> Event:
        """Let a rejected direction be found again."""
        return self._say("restore", id_or_prefix, reason, who)

    def say(self, action: str, ids: Sequence[str], text: str = "", *, who: str | None = None) -> list[Event]:
        """The same of several directions at once, all or none; `action` is one of `history.ACTIONS`."""
        if action not in history.ACTIONS:
            raise InputError(f"action: expected one of {', '.join(history.ACTIONS)}, found {action[:80]!r}")
        if action == "alias" and len(ids) > 1:
            raise InputError(f"alias: expected one direction, found {len(ids)}")
        if action == "alias":
            history.check_alias(text)
        several = [history.event(action, self.direction(one).id, text, who) for one in dict.fromkeys(ids)]
        self.catalogue.write(events.adding(self.home, several))
        return several

    def _say(self, action: str, id_or_prefix: str, text: str, who: str | None) -> Event:
        one = history.event(action, self.direction(id_or_prefix).id, text, who)
        self.catalogue.write(events.adding(self.home, [one]))
        return one

    def name(self, names: Mapping[str, tuple[str, float] | None], *, who: str, method: str) -> list[Event]:
        """Give directions the labels that the scorer `who` found: by their ids, the label and its score, or None.

        They take the place of those that it gave them before; a label that a person gave the direction, or took from
        it, is left as it is. Returns what the directions have of it now.
        """
        said = {
            key: None
            if found is None
            else history.named("label", key, found[0], who=who, method=method, score=found[1])
            for key, found in names.items()
        }
        return self.catalogue.write(events.naming(self.home, who, said))

    def labels(self) -> dict[str, list[str]]:
        """Labels and aliases that directions have now, by the directions' ids."""
        return self.catalogue.read(queries.labels, {})

    def history(self, id_or_prefix: str | None = None) -> list[Event]:
        """All that was said of directions, or of one, the first first."""
        key = None if id_or_prefix is None else self.direction(id_or_prefix).id
        return self.catalogue.read(lambda session: queries.history(session, key), [])

    # Runs and edits

    def start_run(self, record: RunRecord) -> None:
        """Write the run's line to its manifest, then its row; raises `InputError` for an id that is none.

        What earlier runs wrote to their manifests and did not live to index is taken in too.
        """

        def work(session: Session) -> None:
            run_rows.take_in_missing(session, self.home)
            run_rows.take_in(session, self.home, record.id)

        self.log_run(record)
        self.catalogue.write(work)

    def finish_run(self, record: RunRecord) -> None:
        """The same at the run's end (or at any change of its state): the last line counts."""

        def work(session: Session) -> None:
            if record.status == "interrupted":
                run_rows.take_in(session, self.home, record.id)  # it may have been killed before its rows
            rows.put_run(session, record)

        self.log_run(record)
        self.catalogue.write(work)

    def log_run(self, record: RunRecord) -> None:
        """Write the run's line to its manifest alone: the catalogue gets it from there with the next run."""
        _check_times(record.started_at, record.finished_at)
        manifests.append(self.home, record.id, [manifests.run_line(record)])

    def runs(self, kind: str | None = None) -> list[RunRecord]:
        """All runs (of a kind), the latest first, those among them that never got at the catalogue."""
        known = self.catalogue.read(lambda session: queries.runs(session, None), list[RunRecord]())
        told = [*known, *run_rows.untaken(self.home, (one.id for one in known))]
        chosen = [one for one in told if kind in (None, one.kind)]
        return sorted(chosen, key=lambda one: (one.started_at, one.id), reverse=True)

    def run(self, id_or_prefix: str) -> RunRecord:
        """The run whose id begins so; raises `UnknownName` as `direction` does."""
        prefix = queries.check_prefix(id_or_prefix, "run")
        found = self.catalogue.read(lambda session: queries.runs_like(session, prefix), list[RunRecord]())
        found = found or [one for one in self.runs() if one.id.startswith(prefix)]
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
        self.catalogue.write(work)

    def edits(self, run_id: str | None = None) -> list[EditItem]:
        """All output images (of a run), by run, image name and id."""
        return self.catalogue.read(lambda session: queries.edits(session, run_id), [])

    def known_edits(self, ids: Iterable[str]) -> dict[str, EditItem]:
        """Those of the edits that are in the catalogue; of several runs' the latest run's."""
        wanted = list(ids)
        return self.catalogue.read(lambda session: queries.known_edits(session, wanted), {})

    def add_scores(self, scores: Iterable[Score]) -> None:
        """Write transfer scores to their runs' manifests, then their rows; raises `InputError` for bad ids."""
        by_run: dict[str, list[Score]] = {}
        for score in scores:
            check_id(score.direction_id, "direction")
            by_run.setdefault(check_id(score.run_id, "run"), []).append(score)

        def work(session: Session) -> None:
            for run_id, items in by_run.items():
                rows.put_scores(session, run_id, items)

        for run_id, items in by_run.items():
            manifests.append(self.home, run_id, map(manifests.score_line, items))
        if by_run:
            self.catalogue.write(work)

    def add_transfers(self, transfers: Iterable[Transfer]) -> None:
        """Tell how directions do on other images: a line each, then rows in place of what was known of them.

        Raises `InputError` for what cannot be kept.
        """
        several = [told.check(one) for one in transfers]

        def work(session: Session) -> None:
            # The lines inside the lock: of two processes, the last line and the row are the same one's.
            told.append(self.home, several)
            rows.put_transfers(session, several)

        if several:
            self.catalogue.write(work)

    def transfers(self, direction_ids: Iterable[str]) -> dict[str, Transfer]:
        """How directions do on other images, by their ids, of those of them that were scored."""
        wanted = list(direction_ids)
        return self.catalogue.read(lambda session: queries.transfers(session, wanted), {})

    def scores(self, direction_id: str | None = None) -> list[Score]:
        """All transfer scores, or those of one direction."""
        return self.catalogue.read(lambda session: queries.scores(session, direction_id), [])

    # Upkeep

    def verify(self) -> list[Problem]:
        """Everything in which catalogue and files disagree or are damaged; empty when all is well."""
        return verify.verify(self.catalogue, self.home)

    def unchecked(self) -> list[str]:
        """What `verify` cannot tell, in words."""
        return verify.unchecked(self.catalogue, self.home)

    def migrate(self) -> list[str]:
        """Bring a catalogue of an older program to the present tables; returns the steps that were done.

        What only the files tell is read from them. Raises `RegistryError` for one of a newer program.
        """
        steps = self.catalogue.migrate()
        filled = reindex.complete(self.catalogue, self.home)
        return [*steps, f"read {filled} basis files again"] if filled else steps

    def reindex(self) -> dict[str, int]:
        """Rebuild the catalogue from the files; returns `summary`'s counts and that of `damaged` files."""
        return reindex.reindex(self.catalogue, self.home)

    def export(self, path: Path, **filters: Unpack[Filters]) -> Exported:
        """Write the bases of the chosen directions, their models and history, to one portable file."""
        return exchange.export(self.catalogue, self.home, path, filters)

    def import_(self, path: Path) -> Imported:
        """Take what an exported file holds and is not here yet; what cannot be taken is named in `refused`."""
        return exchange.import_(self.catalogue, self.home, path)

    def send(self) -> int:
        """Send the basis files that the home's shared store lacks; returns how many. Damaged and newer ones stay."""
        return sending.send(self.home)

    def garbage(self, *, rejected: bool = False, damaged: bool = False) -> list[Garbage]:
        """What nobody needs (see `gc.garbage`); nothing is deleted."""
        return gc.garbage(self.catalogue, self.home, rejected=rejected, damaged=damaged)

    def collect(self, items: list[Garbage]) -> int:
        """Delete garbage; returns the bytes freed."""
        return gc.collect(self.catalogue, self.home, items)

    def backup(self, path: Path) -> int:
        """Write the home to one archive; returns the number of files in it."""
        return snapshot.backup(self.catalogue, self.home, path)

    def sql(self, limits: Limits | None = None) -> AbstractContextManager[Reader]:
        """Someone to ask in SQL (`with registry.sql() as reader`), who is in nobody's way and changes nothing.

        Of the embedded catalogue a copy is asked, which stays as it is meanwhile.
        """
        return sql.reader(self.catalogue, self.home, limits or Limits())

    def snapshot(self, path: Path, *, replace: bool = False) -> int:
        """Write the catalogue to `path`, one DuckDB file that any program can open; returns its size in bytes.

        Raises `InputError` when something is there and `replace` was not said.
        """
        return snapshot.as_file(self.catalogue, path, replace=replace)

    def copy_to(self, url: str, *, replace: bool = False) -> dict[str, int]:
        """Copy this catalogue's rows to the one at `url`; returns the rows of each table."""
        target = Catalogue(self.home.catalogue, url, self.catalogue.timeout)
        return snapshot.copy(self.catalogue, target, replace=replace)

    def summary(self) -> dict[str, int]:
        """How many models, datasets, images, rois, runs, bases, directions and edits there are."""
        return self.catalogue.read(queries.summary, dict.fromkeys(queries.COUNTED, 0))


def _check_record(record: ModelRecord | DatasetRecord) -> None:
    """Refuse a bad name or time before anything is locked or written."""
    registered.check_name(record.name, "model" if isinstance(record, ModelRecord) else "dataset")
    utc(record.added_at)


def _check_times(*times: str | None) -> None:
    for time in times:
        if time is not None:
            utc(time)
