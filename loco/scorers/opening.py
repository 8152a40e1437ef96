"""From what a user names a scorer by to the scorer: `zoo:NAME`, a reader's file, a folder, or `hub:OWNER/NAME`."""

from collections.abc import Sequence
from pathlib import Path

from loco.errors import InputError, ModelError
from loco.models.source import from_hub
from loco.scorers.pretrained import FETCHED, Prompts, open_pretrained
from loco.scorers.reader import read_reader
from loco.scorers.scorer import Scorer

READERS = Path(__file__).parents[1] / "zoo" / "readers"


def open_scorer(source: str, prompts: Sequence[str] = (), *, device: str = "cpu") -> Scorer:
    """The scorer at `source`.

    `zoo:reader` reads the attributes of the embedded faces; a `.safetensors` file is such a reader of one's own; a
    folder, or `hub:OWNER/NAME[@REVISION]`, is an image classifier or CLIP of `transformers`, the latter with prompts
    `NAME=positive|negative`. Raises `ModelError` for what is none, `InputError` for prompts that do not fit.
    """
    pairs = [Prompts.parse(text) for text in prompts]
    path = _file(source)
    if path is not None:
        if pairs:
            raise InputError(f"scorer {source} reads what it was trained to read: leave out --prompts")
        return read_reader(path, source, device)[1]
    if source.startswith("hub:"):
        return open_pretrained(from_hub(source, FETCHED, ()), pairs, source, device)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise ModelError(
            f"scorer {source!r} does not exist; expected zoo:reader, a .safetensors file, a folder of transformers or "
            f"hub:OWNER/NAME"
        )
    return open_pretrained(folder, pairs, source, device)


def split(text: str) -> tuple[str, str]:
    """`SOURCE#NAME` as its two parts; raises `InputError` where one is missing."""
    source, mark, name = text.rpartition("#")
    if not (source and mark and name.strip()):
        raise InputError(f"expected SCORER#NAME, such as zoo:reader#mouth_openness, found {text[:200]!r}")
    return source, name.strip()


def _file(source: str) -> Path | None:
    """The reader's file that is meant, or None for a scorer of another kind."""
    if not source.startswith("zoo:"):
        path = Path(source).expanduser()
        return path if path.suffix == ".safetensors" and not path.is_dir() else None
    name = source.removeprefix("zoo:")
    known = sorted(path.stem for path in READERS.glob("*.safetensors"))
    if name not in known:
        raise ModelError(f"zoo scorer {name[:80]!r} does not exist; known are: {', '.join(known) or 'none'}")
    return READERS / f"{name}.safetensors"
