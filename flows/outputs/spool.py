"""What a run must remember of each image and output, on disk and not in memory: a temporary SQLite file.

It holds the names that were listed, which of them would claim one output name, and what the output folder's manifest
said last of each output. So memory does not grow with the number of images, and the whole is known before it starts.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from flows.engine.options import Shard
from flows.inputs.places import Source, checked, place_of
from flows.outputs.forms import Form
from flows.outputs.ledger import vouched
from loco.files import scratch

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE source (
    position INTEGER PRIMARY KEY, identity TEXT UNIQUE, rank INTEGER, shard TEXT, data TEXT
);
CREATE TABLE claim (stem TEXT PRIMARY KEY, times INTEGER) WITHOUT ROWID;
CREATE TABLE line (output TEXT PRIMARY KEY, id TEXT, checksum TEXT, run TEXT, text TEXT) WITHOUT ROWID;
CREATE TABLE made (output TEXT PRIMARY KEY, checksum TEXT) WITHOUT ROWID;
"""


_SINGLE = Form()


class Spool:
    """Sources and manifest lines of one run; used by one thread, closed at its end, and never of use afterwards."""

    def __init__(self, folder: Path | None, form: Form = _SINGLE) -> None:
        """Lies in `folder`, where what killed runs left of theirs is deleted; without one in a file without a name."""
        self._form = form
        self._stack = contextlib.ExitStack()
        place = "" if folder is None else self._stack.enter_context(scratch(folder)) / "spool.sqlite"
        self._base = sqlite3.connect(place)
        self._base.executescript(_TABLES)

    def close(self) -> None:
        """Delete it."""
        self._base.close()
        self._stack.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Sources

    def take(
        self, sources: Iterable[Source], limit: int | None = None, say: Callable[[str], None] = lambda _: None
    ) -> int:
        """Take the sources, each place and position once; how many there are. `say` is told of each repetition."""
        count = 0
        for source in sources:
            if limit is not None and count >= limit:
                break
            one = checked(source)
            identity = json.dumps([one.kind, source.place, source.start, one.trouble])
            known = self._base.execute("SELECT 1 FROM source WHERE identity = ?", (identity,)).fetchone()
            if known is not None:
                say(f"{place_of(one)} is listed more than once; it is edited once")
                continue
            count += 1
            rank = self._claim(one.name)
            if _bare(one.name) != one.name:
                self._claim(_bare(one.name))
            shard = self._form.shard(one.inside, count - 1)
            self._base.execute(
                "INSERT INTO source (identity, rank, shard, data) VALUES (?, ?, ?, ?)",
                (identity, rank, shard, json.dumps(asdict(one))),
            )
        return count

    def _claim(self, stem: str) -> int:
        """One more that would begin its outputs' names with it; how many there are now."""
        self._base.execute(
            "INSERT INTO claim VALUES (?, 1) ON CONFLICT (stem) DO UPDATE SET times = times + 1", (stem,)
        )
        return self._times(stem)

    def _times(self, stem: str) -> int:
        row = self._base.execute("SELECT times FROM claim WHERE stem = ?", (stem,)).fetchone()
        return 0 if row is None else int(row[0])

    def chunks(self, part: range, size: Callable[[int], int]) -> Iterator[list[tuple[Source, str]]]:
        """The sources of a part in order, `size(remaining)` at a time, each with the beginning of its outputs' names.

        That is its name without the ending, or with it where two would share one: `a.png.webp` must not take the name
        that `a.png` may need. Of several of one name the second is `a.png~2`, in the order in which they are listed.
        """
        last = part.start
        while last < part.stop:
            rows = self._base.execute(
                "SELECT rank, shard, data FROM source WHERE position > ? ORDER BY position LIMIT ?",
                (last, min(size(part.stop - last), part.stop - last)),
            ).fetchall()
            last += len(rows)
            yield [self._named(*row) for row in rows]

    def _named(self, rank: int, shard: str, data: str) -> tuple[Source, str]:
        source = Source(**json.loads(data))
        return source, self._form.stem(self._stem(source.name, rank), source.inside, shard)

    def _stem(self, name: str, rank: int) -> str:
        if self._times(_bare(name)) == 1:
            return _bare(name)
        if rank == 1:
            return name
        mark = "~"
        while self._times(f"{name}{mark}{rank}"):
            mark += "~"
        return f"{name}{mark}{rank}"

    def part(self, count: int, shard: Shard | None) -> range:
        """The positions, of so many, that are a part's: whole shards of outputs, where there are enough of them."""
        if shard is None:
            return range(count)
        block = shard.block(count)
        query = "SELECT count(DISTINCT shard) FROM source WHERE shard != ''"
        if self._base.execute(query).fetchone()[0] < shard.of:
            return block
        return range(self._border(block.start, count), self._border(block.stop, count))

    # Shards of outputs

    def shards(self, part: range) -> Iterator[tuple[str, int, int]]:
        """The shards that outputs of a part go to: how many images of it, and how many of the whole list."""
        yield from self._base.execute(
            "SELECT shard, sum(position > ? AND position <= ?) AS own, count(*) FROM source GROUP BY shard HAVING own",
            (part.start, part.stop),
        ).fetchall()

    def in_shard(self, shard: str) -> Iterator[tuple[Source, str]]:
        """The listed images whose outputs go to a shard, each with the beginning of their names."""
        for row in self._base.execute("SELECT rank, shard, data FROM source WHERE shard = ?", (shard,)):
            yield self._named(*row)

    def _border(self, position: int, count: int) -> int:
        """The first position from this one on, of so many, at which a shard begins."""
        while 0 < position < count:
            pair = self._base.execute(
                "SELECT shard FROM source WHERE position IN (?, ?)", (position, position + 1)
            ).fetchall()
            if pair[0] != pair[1]:
                break
            position += 1
        return position

    def vouch(self, made: Iterable[tuple[str, str]]) -> None:
        """Remember outputs that are there now, with their checksums."""
        self._base.executemany("INSERT OR REPLACE INTO made VALUES (?, ?)", made)

    def members(self, shard: str) -> Iterator[tuple[str, str, bool]]:
        """Outputs in a shard by name, with checksums; whether this run has seen them, else the manifest says so."""
        span = (f"{shard}:", f"{shard};")  # what follows a colon
        yield from self._base.execute(
            "SELECT output, checksum, 1 FROM made WHERE output >= ? AND output < ? UNION ALL "
            "SELECT output, checksum, 0 FROM line WHERE output >= ? AND output < ? AND checksum != '' "
            "AND output NOT IN (SELECT output FROM made) ORDER BY 1",
            (*span, *span),
        )

    def vouches(self, output: str) -> bool:
        """Whether an output is among the members of its shard."""
        query = "SELECT 1 FROM {} WHERE output = ? AND checksum != ''"
        return any(self._base.execute(query.format(one), (output,)).fetchone() for one in ("made", "line"))

    # Lines of the manifest

    def note(self, lines: Iterable[tuple[dict[str, Any], str]]) -> int:
        """Remember manifest lines (parsed, and as text), of which the last of an output counts; how many they were."""
        count = 0
        for line, text in lines:
            key = line["id"] if line.get("status") != "failed" else ""
            row = (line["output"], key, vouched(line), line["run_id"], text)
            self._base.execute("INSERT OR REPLACE INTO line VALUES (?, ?, ?, ?, ?)", row)
            count += 1
        return count

    def present(self, outputs: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Those of the outputs that the manifest vouches for, with edit id, checksum and run.

        The id is empty where the last try to make it anew failed.
        """
        found = {}
        for output in outputs:
            row = self._base.execute(
                "SELECT id, checksum, run FROM line WHERE output = ? AND checksum != ''", (output,)
            ).fetchone()
            if row is not None:
                found[output] = (str(row[0]), str(row[1]), str(row[2]))
        return found

    def told(self, output: str) -> dict[str, Any]:
        """What the manifest says of an output; empty where it says nothing."""
        row = self._base.execute("SELECT text FROM line WHERE output = ?", (output,)).fetchone()
        line: dict[str, Any] = json.loads(row[0]) if row is not None else {}
        return line

    def vouched(self) -> Iterator[str]:
        """The outputs that the manifest vouches for."""
        for (output,) in self._base.execute("SELECT output FROM line WHERE checksum != ''"):
            yield output

    def lines(self) -> Iterator[str]:
        """The last line of each output, by output."""
        for (text,) in self._base.execute("SELECT text FROM line ORDER BY output"):
            yield text

    def count_lines(self) -> int:
        """How many outputs there are lines of."""
        [(count,)] = self._base.execute("SELECT count(*) FROM line").fetchall()
        return int(count)


def _bare(name: str) -> str:
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.name else name
