"""Discovery across a dataset, as a job for the engine: passes over its images, whose sums it takes in one by one.

The first pass finds which images have which region and begins the space; then come rounds, each a map over the images
and a sum, until the space holds what is asked for; the last pass asks every image what it says to the directions found,
which then are one basis file of scope `dataset`. Between the passes the state is kept (`rounds.py`), so that a run that
was killed goes on with its round.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flows.discover import rounds as state
from flows.discover.across import AcrossChunk, AcrossOutcome, AcrossResult, Member, across_chunk
from flows.discover.image import is_sound, regions_of
from flows.discover.job import OverRegions
from flows.discover.rounds import Rounds, Seen
from flows.engine.estimate import Estimate, estimated
from flows.engine.job import Failure, Tally
from flows.engine.plan import PAGE, Sizer
from flows.engine.watch import Silence
from flows.jobs import AcrossJob
from loco.direction import basis_id, direction_id, images_id, region_id
from loco.errors import DirectionError
from loco.files import sweep
from loco.ids import content_id
from registry.files.basis import write_basis
from registry.home import Home
from registry.records import ImageRecord, RunRecord

if TYPE_CHECKING:
    from loco.across import Answers, Region, Shaped
    from loco.linalg.krylov import Triplets

RANGED = 8
"""Images on which linear ranges are measured; the median is the direction's."""

STALE = 0.8
"""Rounds on ever other images end where two of them left more than this fraction of the estimated error: what is left
then is not what the space lacks, but how the images differ."""


@dataclass
class _Total:
    """What a pass came to so far: sums by name, and what was told of each image."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    outcomes: list[AcrossOutcome] = field(default_factory=list)


class Across(OverRegions[AcrossChunk]):
    """Directions of a model in the regions of a dataset, of all of its images together."""

    kind: ClassVar[str] = "across"
    asked: AcrossJob

    def __init__(self, home: Home, url: str | None, asked: AcrossJob) -> None:
        super().__init__(home, url, asked)
        self.rounds: Rounds | None = None
        self.losses: dict[str, str] = {}
        self.owed: Tally | None = None
        self.shaped: Shaped | None = None
        self.over = False
        self.run_id = ""

    # Before the run

    def known(self) -> bool:
        """Whether the basis file is there that these images, their regions and the recipe lead to, if all are sound."""
        if self.asked.recipe.aligned:
            return True  # it asks no network
        planned = 0 if self.asked.rescan else super(OverRegions, self).prepare(Silence())
        return bool(planned) and self.registry.summary()["bases"] > 0 and self._is_made()

    def _is_made(self) -> bool:
        looked, seen, names = set[str](), list[Seen](), self._names()
        for images in self._pages():
            for record in images:
                item = regions_of(self.asked_of((record,)), record)
                if item.failures:
                    return False
                looked.add(record.id)
                own = {roi.name: roi.id for roi in item.rois}
                if own:
                    ids = tuple(own.get(name, "") for name in names)
                    seen.append(Seen(record.id, (), ids, ()))
        if not seen:
            return False
        unique = {one.id: one for one in seen}
        return is_sound(self.home, self._basis_id(sorted(looked), [unique[key] for key in sorted(unique)]))

    def _pages(self) -> Iterator[list[ImageRecord]]:
        for start in range(self.part.start, self.part.stop, PAGE):
            yield list(self.registry.images(self.dataset, start, min(PAGE, self.part.stop - start)))

    def estimate(self) -> Estimate:
        """All images, or none where the basis file is there; what one took in the last run with this model."""
        images = super(OverRegions, self).prepare(Silence())
        known = images if images and (self.asked.recipe.aligned or self._is_made()) else 0
        return estimated(
            self.registry.runs(self.kind),
            self.model.id,
            kind=self.kind,
            images=images,
            known=known,
            workers=self.asked.runner.workers,
            bytes=0
            if known
            else len(self.asked.rois) * 4 * self.asked.recipe.rank * int(np.prod(self.model.shape)),
        )

    def before(self, lines: Iterator[Mapping[str, Any]]) -> dict[str, int]:
        """Nothing: what earlier passes did is in the state, and counted with the first chunk."""
        return {}

    def title(self) -> str:
        """What people recognise a run by."""
        return f"across {super().title()}"

    # The passes

    def chunks(self, run: RunRecord, sizer: Sizer) -> Iterator[AcrossChunk]:
        """The images of the present pass, in order."""
        self.run_id = run.id
        rounds = self._begun(run)
        if rounds.phase == "aligned":
            return
        members, wanted = self._members(rounds), self._wanted(rounds)
        regions = () if self.shaped is None else self.shaped.regions
        taken = set[str]()
        for images in self.pages(sizer):
            mine = tuple(
                one
                for one in images
                if one.name not in rounds.left_out
                and (rounds.phase in ("start", "known") or (one.id in wanted and one.id not in taken))
            )
            if rounds.phase == "round" or rounds.phase == "answers":
                mine = tuple({one.id: one for one in reversed(mine)}.values())[::-1]
            taken.update(one.id for one in mine)
            if mine:
                yield AcrossChunk(
                    **vars(self.asked_of(mine)),
                    run_id=run.id,
                    phase=rounds.phase,
                    number=rounds.number,
                    members={one.id: members[one.id] for one in mine if one.id in members},
                    regions=regions,
                    scorer=self.asked.scorer,
                    prompts=self.asked.prompts,
                )

    def _begun(self, run: RunRecord) -> Rounds:
        """The state of the run, read or begun, with what the pass needs written for its chunks."""
        if self.rounds is None and self.asked.recipe.aligned:
            self.rounds = Rounds("aligned")
        if self.rounds is None:
            rounds = state.kept(self.home, run.id, self._key())
            if rounds.phase == "start" and self.registry.summary()["bases"] > 0 and self._is_made():
                rounds = Rounds("known")
            counts = Counter(rounds.told.values()) | Counter(evaluations=rounds.spent[1])
            self.owed = Tally(len(rounds.told), 0, counts) if rounds.phase != "start" else None
            self.rounds = rounds
            if rounds.number:
                self.watch.say(f"goes on with round {rounds.number}")
        rounds = self.rounds
        state.forget(self.home, run.id, whole=False)
        if rounds.phase == "round" and rounds.pool is not None:
            state.ask(self.home, run.id, rounds.pool.fresh.cpu().numpy())
        elif rounds.phase == "answers":
            self.shaped = self._shaped(rounds)
            state.ask(self.home, run.id, self.shaped.vectors.cpu().numpy())
        return rounds

    def _members(self, rounds: Rounds) -> dict[str, Member]:
        if rounds.phase not in ("round", "answers"):
            return {}
        from loco.across import weights_of

        weights = weights_of([one.answers for one in rounds.seen])
        ranged = rounds.phase == "answers" and self.asked.recipe.ranged
        return {
            one.id: Member(weight, number % 2, ranged and number < RANGED)
            for number, (one, weight) in enumerate(zip(rounds.seen, weights, strict=True))
        }

    def _wanted(self, rounds: Rounds) -> set[str]:
        """The images that take part in the pass: all, or in rounds as many as are asked for, each time others."""
        ids, most = [one.id for one in rounds.seen], self.asked.recipe.images_per_round
        if rounds.phase != "round" or not most or most >= len(ids):
            return set(ids)

        def draw(image_id: str) -> bytes:
            return hashlib.sha256(f"{self.asked.recipe.seed} {rounds.number} {image_id}".encode()).digest()

        return set(sorted(ids, key=draw)[:most])

    @staticmethod
    def work(chunk: AcrossChunk) -> AcrossResult:
        """`across_chunk`."""
        return across_chunk(chunk)

    def lost(self, run: RunRecord, chunk: AcrossChunk, cause: str) -> AcrossResult:
        """Its images failed."""
        failures = (("", cause),)
        return AcrossResult(
            tuple(AcrossOutcome(one.name, one.id, "failed", failures=failures) for one in chunk.images)
        )

    def record(self, run: RunRecord, chunk: AcrossChunk, result: AcrossResult) -> Tally:
        """Count the images: those that failed or have no region at once, the others in the last pass."""
        rounds = self.rounds or Rounds()
        last = chunk.phase in ("answers", "known")
        counted, lines = Counter[str](), list[Mapping[str, Any]]()
        told, failures, absent, notes = (
            dict[str, str](),
            list[Failure](),
            list[tuple[str, str]](),
            list[str](),
        )
        for one in result.outcomes:
            counted.update(evaluations=one.evaluations + one.inversion * one.inverted)
            if one.halved:
                counted.update(halved=one.halved)
                notes.append(f"{one.image}: out of memory, halved {one.halved} times; the run goes on")
            if chunk.phase != "start" and one.status == "failed":
                self.losses[one.image] = "; ".join(cause for _, cause in one.failures)
            if one.image in rounds.told:
                continue
            status = "failed" if one.failures else one.status
            if status == "done" and not last:
                continue
            told[one.image] = status
            if one.failures or one.absent:
                kind = "failure" if one.failures else "absent"
                told_of = {
                    "image": one.image,
                    "status": status,
                    "failures": one.failures,
                    "absent": one.absent,
                }
                lines.append({"kind": kind} | told_of)
            failures += [Failure(one.image, roi, cause) for roi, cause in one.failures]
            absent += [(one.image, reason) for _, reason in one.absent]
            notes += [f"{one.image}: {note}" for note in one.notes]
        self.rounds = replace(rounds, told={**rounds.told, **told})
        counted.update(told.values())
        computed = [one for one in result.outcomes if one.evaluations]
        tally = Tally(
            len(told),
            len(result.outcomes),
            counted,
            tuple(lines),
            tuple(failures),
            tuple(absent),
            tuple(notes),
            len(computed),
            sum(one.seconds for one in computed),
        )
        owed, self.owed = self.owed, None
        if owed is None:
            return tally
        return replace(tally, items=tally.items + owed.items, counts=counted + Counter(owed.counts))

    # What comes of a pass

    def add(self, total: "_Total | None", result: AcrossResult) -> "_Total":
        """The sums and what was told, with one more chunk's."""
        total = total or _Total()
        if result.sums is not None:
            for name, array in state.take_sums(self.home, self.run_id, result.sums).items():
                total.arrays[name] = total.arrays[name] + array if name in total.arrays else array
        total.outcomes += result.outcomes
        return total

    def reduced(self, run: RunRecord, total: "_Total | None") -> Tally | None:
        """Take the pass in and keep the state; in the end the basis file."""
        total, rounds = total or _Total(), self.rounds or Rounds()
        if rounds.phase == "aligned":
            return self._aligned(rounds)
        rounds = rounds.spending(
            sum(one.products for one in total.outcomes),
            sum(one.evaluations for one in total.outcomes),
            sum(one.seconds for one in total.outcomes),
        )
        rounds = replace(rounds, certain=rounds.certain and all(one.certain for one in total.outcomes))
        if rounds.phase == "known":
            self.over = True
            return None
        if self.losses and rounds.phase != "start":
            return self._again_without(run, rounds)
        if rounds.phase == "answers":
            return self._made(run, rounds, total)
        rounds = self._started(rounds, total) if rounds.phase == "start" else self._extended(rounds, total)
        self._keep(run, rounds)
        return None

    def again(self) -> bool:
        """Until the basis file is there, or turned out to be."""
        return not self.over

    def _keep(self, run: RunRecord, rounds: Rounds) -> None:
        self.rounds = rounds
        if not self.over:
            state.keep(self.home, run.id, self._key(), rounds)

    def _again_without(self, run: RunRecord, rounds: Rounds) -> Tally | None:
        """The work is begun again without what was lost on the way: a space is of the same images all through."""
        lost = tuple(self.losses)
        self.watch.say(f"begins again without {', '.join(lost[:5])}{' and others' if len(lost) > 5 else ''}")
        self.losses = {}
        again = Rounds(told=rounds.told, left_out=(*rounds.left_out, *lost))
        self._keep(run, again)
        return None

    def _started(self, rounds: Rounds, total: "_Total") -> Rounds:
        """After the first pass: which images take part, and where the space begins."""
        seen, absent, sources = dict[str, Seen](), set[str](), [""] * len(self.asked.rois)
        for one in total.outcomes:
            if one.status == "done":
                seen[one.id] = Seen(one.id, one.answers, one.rois, one.areas, bool(one.failures))
                sources = [before or source for before, source in zip(sources, one.sources, strict=True)]
            elif one.status == "absent":
                absent.add(one.id)
        ordered = tuple(seen[key] for key in sorted(seen))
        rounds = replace(
            rounds, seen=ordered, absent=tuple(sorted(absent - seen.keys())), sources=tuple(sources)
        )
        if not ordered:
            self.over = True
            return rounds
        if is_sound(self.home, self._basis_id(self._looked(rounds), ordered)):
            return replace(rounds, phase="known")
        import torch

        from loco.linalg.pooled import GRAIN, Pool

        recipe, count = self.asked.recipe, len(self.asked.rois)
        from loco.precision import algebra

        dtype = algebra(recipe.dtype)
        start = (torch.from_numpy(total.arrays["start"]).double() * GRAIN).to(dtype)
        values = int(np.prod(self.model.shape))
        ranks = (0 if recipe.toward else recipe.rank,) * count + (recipe.null_rank,) * count
        pool = Pool.begin(start, [min(one, values) for one in ranks], recipe.tol)
        self.watch.say(f"{len(ordered)} images; round 1 asks about {len(pool.fresh)} vectors")
        rounds = replace(rounds, phase="round", pool=pool, masks=total.arrays["masks"])
        if recipe.toward:
            sums, numbers = (total.arrays[name] for name in ("pulls", "pull_counts"))
            sums, numbers = np.stack([sums.sum(0), *sums]), np.stack([numbers.sum(0), *numbers])
            pulls = sums * GRAIN / np.maximum(numbers, 1)[:, :, None]
            lengths = total.arrays["pull_lengths"] * GRAIN / np.maximum(numbers[0], 1)
            rounds = replace(rounds, pulls=pulls, lengths=tuple(map(float, lengths)))
        return rounds

    def _extended(self, rounds: Rounds, total: "_Total") -> Rounds:
        """After a round."""
        import torch

        from loco.linalg.pooled import Sums

        if rounds.pool is None:
            raise DirectionError("a round without a space; begin the run anew")
        members, wanted = self._members(rounds), sorted(self._wanted(rounds))
        weights = torch.zeros((2, len(rounds.pool.ranks)), dtype=torch.float64)
        for image_id in wanted:
            one = members[image_id]
            weights[one.half] += torch.tensor(one.weights * 2, dtype=torch.float64)
        pool = rounds.pool.extended(Sums(torch.from_numpy(total.arrays["products"]), weights))
        errors = (*rounds.errors, max(one.error for one in pool.solved()))
        recipe = self.asked.recipe
        stale = bool(recipe.images_per_round) and len(errors) > 3 and errors[-1] > STALE * errors[-3]
        finished = not len(pool.fresh) or pool.rounds >= recipe.max_rounds or stale
        self.watch.say(
            f"round {pool.rounds}: estimated error {errors[-1]:.2g} of {len(pool.basis)} vectors, aim {recipe.tol:g}"
        )
        return replace(rounds, phase="answers" if finished else "round", pool=pool, errors=errors)

    def _shaped(self, rounds: Rounds) -> "Shaped":
        from loco.across import shape_all

        if rounds.pool is None:
            raise DirectionError("answers without a space; begin the run anew")
        return shape_all(rounds.pool, self.asked.recipe, self._names(), self._towards(rounds))

    def _towards(self, rounds: Rounds) -> "list[list[Triplets] | None]":
        """The regions' pulls toward a number, of all images and of either half; nothing without one."""
        if rounds.pulls is None:
            return []
        import torch

        from loco.toward import triplets_of

        dtype = getattr(torch, self.asked.recipe.dtype)
        return [
            triplets_of(one, rounds.lengths) if number == 0 or bool(one.any()) else None
            for number, one in enumerate(torch.from_numpy(rounds.pulls).to(dtype))
        ]

    def _made(self, run: RunRecord, rounds: Rounds, total: "_Total") -> Tally:
        """The basis file, and its rows."""
        from loco.across import Answers, weights_of

        shaped = self.shaped or self._shaped(rounds)
        told = {one.id: one for one in total.outcomes if one.status == "done"}
        ids = [one.id for one in rounds.seen]
        count = len(shaped.vectors)
        gains, leakages = (
            np.array([getattr(told[key], name) for key in ids], np.float64).reshape(len(ids), count)
            for name in ("gains", "leakages")
        )
        measured = [told[key].ranges for key in ids if told[key].ranges]
        ranges = [
            [one[row] for one in measured if one[row] is None or one[row] == one[row]] for row in range(count)
        ]
        first = told[ids[0]]
        answers = Answers(
            tuple(ids),
            gains,
            leakages,
            ranges,
            np.array(weights_of([one.answers for one in rounds.seen])),
            rounds.spent[0],
            rounds.spent[1] + len(ids) * first.inversion,
            rounds.certain,
            first.step,
            first.alpha_bar,
        )
        return self._written(shaped, answers, rounds, {"device": first.device}, len(ids))

    def _written(
        self,
        shaped: "Shaped",
        answers: "Answers",
        rounds: Rounds,
        provenance: dict[str, str | float],
        count: int,
    ) -> Tally:
        """The basis file and its rows, and what is told of them."""
        import torch

        from loco.across import dataset_basis

        basis = dataset_basis(
            shaped,
            self._regions(rounds),
            answers,
            model=self.model.id,
            image_id=images_id(self._looked(rounds)),
            shape=self.model.shape,
            name=self.dataset.name,
            recipe=self.asked.recipe,
        )
        basis = replace(basis, provenance=provenance | {"torch": torch.__version__})
        write_basis(self.home, basis, rounds.spent[2])
        self.registry.index(basis.id)
        self.over = True
        self.rounds = rounds
        if self.asked.recipe.toward and basis.directions:
            name = self.asked.recipe.toward.partition("#")[2]
            self.registry.name(
                {one.id: (f"toward {name}"[:200].strip(), one.coverage or 0.0) for one in basis.directions},
                who=f"toward, {self.asked.scorer}"[-200:].strip(),
                method=f"{self.asked.recipe.toward[:12]}, mean of J' M grad over {count} images",
            )
        found = {"directions": len(basis.directions), "refused": len(basis.refused)}
        line = {"kind": "basis", "image": self.dataset.name, "status": "done", "basis_id": basis.id, **found}
        coverage = [one.coverage for one in basis.directions if one.coverage is not None]
        note = f"{len(basis.directions)} directions of {count} images"
        if coverage:
            note += f", to which {median(coverage):.0%} of the images respond"
        notes = (note, *(f"{one.roi} {one.index} refused: {one.cause}" for one in basis.refused))
        return Tally(0, 0, found, (line,), notes=notes, newest=(basis.id,) if basis.directions else ())

    def _aligned(self, rounds: Rounds) -> Tally:
        """All of it at once, from the catalogue."""
        from flows.discover.aligning import Source, put_together

        recipe = replace(self.asked.recipe, aligned=False)
        names = self._names()
        sources: list[list[Source]] = [[] for _ in names]
        seen, absent, unknown = dict[str, Seen](), set[str](), 0
        masks = np.zeros((len(names), *self.model.shape[1:]), np.int64)
        counts, origins = Counter[str](), [""] * len(names)
        for images in self._pages():
            items = [regions_of(self.asked_of((record,)), record) for record in images]
            ids = {
                (item.record.id, roi.id): [
                    direction_id(self.model.id, item.record.id, recipe, roi.id, k) for k in range(recipe.rank)
                ]
                for item in items
                for roi in item.rois
            }
            holders = self.registry.holders(one for several in ids.values() for one in several)
            for item in items:
                key, rois = item.record.id, [""] * len(names)
                areas = [0.0] * len(names)
                if key in seen:
                    counts.update(skipped=1)
                    continue
                for roi in item.rois:
                    number = names.index(roi.name)
                    basis = next((holders[one] for one in ids[key, roi.id] if one in holders), None)
                    if basis is None:
                        continue
                    sources[number].append(Source(key, basis, roi.id))
                    rois[number], areas[number] = roi.id, roi.area
                    masks[number] += roi.mask
                    origins[number] = origins[number] or roi.source
                if any(rois):
                    seen[key] = Seen(key, (), tuple(rois), tuple(areas))
                    counts.update(done=1)
                elif item.rois:
                    unknown += 1
                    counts.update(skipped=1)
                else:
                    absent.add(key)
                    counts.update(failed=1) if item.failures else counts.update(absent=1)
        ordered = tuple(seen[key] for key in sorted(seen))
        rounds = replace(
            rounds, seen=ordered, absent=tuple(sorted(absent)), sources=tuple(origins), masks=masks
        )
        notes = (f"{unknown} images are not in the catalogue under this recipe: left out",) if unknown else ()
        tally = Tally(sum(counts.values()), len(ordered), counts, notes=notes)
        if ordered and is_sound(self.home, self._basis_id(self._looked(rounds), ordered)):
            self.over = True
            return replace(
                tally, counts=Counter(counts) + Counter(skipped=counts["done"], done=-counts["done"])
            )
        areas_of = [
            {one.id: one.areas[number] for one in ordered if one.rois[number]} for number in range(len(names))
        ]
        shaped, told, first = put_together(self.home, sources, areas_of, self.asked.recipe)
        ids_of = tuple(one.id for one in ordered)
        from loco.across import Answers

        answers = Answers(
            ids_of,
            np.array([told[one][0] for one in ids_of]),
            np.array([told[one][1] for one in ids_of]),
            [()] * len(shaped.vectors),
            np.ones((len(ids_of), len(names))),
            0,
            0,
            True,
            first.step,
            first.alpha_bar,
        )
        made = self._written(shaped, answers, rounds, {}, len(ids_of))
        return replace(
            tally,
            counts=Counter(counts) + Counter(made.counts),
            lines=made.lines,
            notes=(*notes, *made.notes),
            newest=made.newest,
        )

    def finish(self, run: RunRecord) -> None:
        """Clear what the rounds kept, once there is nothing more to ask."""
        sweep(self.home.bases)
        if self.over:
            state.forget(self.home, run.id)
        self.say_if_absent(run)

    # Ids

    def _names(self) -> tuple[str, ...]:
        return tuple(one.partition("=")[0] for one in self.asked.rois)

    def _key(self) -> str:
        """What a state is of: it is used by no other job."""
        asked = self.asked
        return content_id("rounds", [asked.recipe, asked.rois, self.model.id, self.dataset.id, asked.limit])

    @staticmethod
    def _looked(rounds: Rounds) -> list[str]:
        return sorted({*rounds.absent, *(one.id for one in rounds.seen)})

    def _basis_id(self, looked: list[str], seen: "list[Seen] | tuple[Seen, ...]") -> str:
        ids = [
            region_id(name, [(one.id, one.rois[number]) for one in seen if one.rois[number]])
            for number, name in enumerate(self._names())
        ]
        return basis_id(self.model.id, images_id(looked), self.asked.recipe, tuple(ids))

    def _regions(self, rounds: Rounds) -> "list[Region]":
        from loco.across import Region

        found = []
        for number, (name, source) in enumerate(zip(self._names(), rounds.sources, strict=True)):
            areas = [one.areas[number] for one in rounds.seen if one.rois[number]]
            mask = np.zeros(self.model.shape[1:], bool) if rounds.masks is None else rounds.masks[number]
            again = source.startswith(("box:", "segment:", "sam:"))
            found.append(
                Region(
                    name,
                    source if again else f"dataset:{self.dataset.name}",
                    float(np.mean(areas)) if areas else 0.0,
                    2 * mask >= max(1, len(areas)),
                    tuple((one.id, one.rois[number]) for one in rounds.seen if one.rois[number]),
                )
            )
        return found
