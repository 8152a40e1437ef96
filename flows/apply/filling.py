"""Which shards of a run are complete: each is packed when the last of its outputs came back."""

from collections.abc import Callable, Iterable

from flows.apply.edits import Edit, EditOutcome
from flows.outputs.forms import shard_of
from flows.outputs.packed import Packed
from flows.outputs.spool import Spool


class Filling:
    """The shards that a part of a list is written to."""

    def __init__(self, outputs: Packed, spool: Spool, part: range, edits: int) -> None:
        """Raises `StorageError` where a shard is somebody else's."""
        self._outputs, self._spool = outputs, spool
        self._left: dict[str, int] = {}
        self._shared: set[str] = set()
        for shard, own, all_of_it in spool.shards(part):
            self._left[shard] = own * edits
            if own < all_of_it:
                self._shared.add(shard)
        outputs.refuse(self._left)

    def take(self, outcomes: Iterable[EditOutcome]) -> None:
        """Note what came back, and pack what is complete by it; raises `StorageError`."""
        complete = set()
        for one in outcomes:
            shard = shard_of(one.output)
            self._left[shard] -= 1
            if one.edit is not None:
                self._spool.vouch([(one.output, one.edit.checksum)])
            if not self._left[shard]:
                complete.add(shard)
        for shard in sorted(complete - self._shared):
            self._outputs.pack(shard, self._spool)

    def finish(self, edits: Iterable[Edit], told: Callable[[str, Edit], bool]) -> None:
        """Pack what other programs have a part in, where they are done with theirs: the last one does it."""
        mine = [one for one in sorted(self._shared) if not self._left[one]]
        if mine:
            self._outputs.look(self._spool)
        edits = list(edits)
        for shard in mine:
            stems = (stem for _, stem in self._spool.in_shard(shard))
            if all(told(stem, edit) for stem in stems for edit in edits):
                self._outputs.pack(shard, self._spool)
