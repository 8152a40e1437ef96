"""What people have that is no folder of safetensors, as one: pickled weights, and single files in the original layout.

It is converted once, into a folder named by what it is made of, and whole or not at all. Nothing is executed: pickles
are read by `loco.models.pickled`, and single files by diffusers' own loader, with the configurations of a pipeline of
the same kind, because a single file has neither those nor a vocabulary.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loco.errors import InputError, ModelError
from loco.files import making
from loco.ids import content_id
from loco.models.card import CARD, read_card
from loco.models.family import recognise
from loco.models.hashes import hash_of
from loco.models.layout import part, read_header, read_json
from loco.models.pickled import read_state
from loco.models.source import CONFIGURATIONS, from_hub, model_folder

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SINGLE = (".safetensors", *PICKLED)

_STEMS = {"diffusion_pytorch_model": "diffusion_pytorch_model", "pytorch_model": "model"}
"""How pickled weights are named, and what they become."""

_SMALL = (".json", ".txt", ".model", ".jinja")

Say = Callable[[str], None]


def prepared(source: str, into: Path, like: str | None = None, say: Say = lambda text: None) -> str:
    """The source itself where it can be opened as it is, else a folder in `into` that it was converted to.

    Args:
        source: What the user names.
        into: Where folders of what was converted lie.
        like: For a single file: the source of a pipeline of its kind, whose configurations and vocabularies are used.
        say: Told what is done, because it takes its time.

    Raises `ModelError` for what cannot be read, `InputError` where a single file wants `like`.
    """
    if source.startswith(("zoo:", "hub:")):
        return source
    path = Path(source).expanduser().absolute()
    if path.is_file():
        return str(_from_file(path, into, like, say))
    if like is not None:
        raise InputError(f"--like is for single files; {path} is none")
    return str(_from_pickles(path, into, say)) if path.is_dir() and _pickled(path) else source


def _pickled(folder: Path) -> dict[str, list[Path]]:
    """The pickled weight files of each part that has no others."""
    try:
        family, _ = recognise(folder)
    except ModelError:
        return {}  # the caller refuses it, with the reason
    found: dict[str, list[Path]] = {}
    for name in family.parts:
        place = part(folder, name)
        files = sorted(
            file
            for file in place.glob("*")
            if file.suffix == ".bin" and file.name.split(".")[0].partition("-0")[0] in _STEMS
        )
        if files and not any(place.glob("*.safetensors")):
            found[name] = [one for one in files if ".fp16" not in one.name] or files
    return found


def _from_pickles(folder: Path, into: Path, say: Say) -> Path:
    """The folder again, with its pickled weights as safetensors."""
    wanted = _pickled(folder)
    family, _ = recognise(folder)
    others = sorted(
        file
        for name in ("", *family.parts, "scheduler", *(tokenizer for _, tokenizer in family.encoders))
        for file in (folder / name if name else folder).glob("*")
        if file.is_file() and (file.suffix in _SMALL or file.suffix == ".safetensors")
    )
    made_of = {
        str(file.relative_to(folder)): hash_of(file)
        for file in (*others, *(file for files in wanted.values() for file in files))
    }
    out = into / content_id("converted", made_of)
    if out.exists():
        return out
    say(f"converting {', '.join(wanted)} to safetensors, once")
    with _making(out, folder) as beside:
        for file in others:
            if not file.name.endswith(".bin.index.json"):
                target = beside / file.relative_to(folder)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, target)
        for files in wanted.values():
            place = beside / files[0].parent.relative_to(folder)
            place.mkdir(exist_ok=True)
            _write(_joined(folder, files), place / _named(files[0]))
        read_card(beside, hashed=False)
    return out


def _named(file: Path) -> str:
    stem = file.name.split(".")[0].partition("-0")[0]
    return f"{_STEMS[stem]}.safetensors"


def _joined(folder: Path, files: list[Path]) -> dict[str, Tensor]:
    """The tensors of all shards; raises `ModelError` where the index names others."""
    index = next(iter(sorted(files[0].parent.glob("*.bin.index.json"))), None)
    if index is not None:
        table = read_json(index, folder, "the list of weight files").get("weight_map")
        listed = set(table.values()) if isinstance(table, dict) else set()
        missing = sorted(listed - {file.name for file in files}, key=str)
        if missing or not listed:
            raise ModelError(f"model file {index}: it names {missing[:1] or 'nothing'}, which is not there")
    state: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in read_state(file, "weights").items():
            if name in state:
                raise ModelError(f"weights {file}: {name[:80]!r} is in another shard as well")
            state[name] = tensor
    return state


def _write(state: dict[str, Tensor], path: Path) -> None:
    """Tensors as safetensors, each with memory of its own."""
    from safetensors.torch import save_file

    own = {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}
    save_file(own, path, metadata={"format": "pt"})


def _from_file(path: Path, into: Path, like: str | None, say: Say) -> Path:
    """A single file in the original layout, as a folder."""
    if path.suffix not in SINGLE:
        raise ModelError(
            f"model file {path}: expected a folder, or a single file that ends in {', '.join(SINGLE)}"
        )
    state = read_header(path) if path.suffix == ".safetensors" else read_state(path)
    if "input_blocks.0.0.weight" in state or "module.input_blocks.0.0.weight" in state:
        raise InputError(
            f"model file {path}: a checkpoint of guided or improved diffusion does not say all of itself; "
            f"`loco model convert {path} OUT` takes what it leaves out"
        )
    sample = _like(path, state, like)
    _, index = recognise(sample)
    made_of = [hash_of(path), _settings(sample)]
    out = into / content_id("converted", made_of)
    if out.exists():
        return out
    say(f"converting {path.name} to a folder of {index.get('_class_name')}, once")
    with _making(out, path) as beside:
        _convert(path, state, sample, index, beside)
        read_card(beside, hashed=False)
    return out


@contextmanager
def _making(out: Path, source: Path) -> Iterator[Path]:
    """A folder that becomes `out`, with a card that says where it came from."""
    with making(out) as beside:
        yield beside
        card = json.loads((beside / CARD).read_text()) if (beside / CARD).exists() else {}
        (beside / CARD).write_text(json.dumps(card | {"converted_from": source.name}, indent=1) + "\n")


def _settings(folder: Path) -> dict[str, str]:
    """Hashes of a pipeline's configurations and vocabularies."""
    return {
        str(file.relative_to(folder)): hash_of(file)
        for file in sorted((*folder.glob("*"), *folder.glob("*/*")))
        if file.suffix in _SMALL and file.is_file() and file.name != CARD
    }


def _like(path: Path, state: dict[str, Any], like: str | None) -> Path:
    """A folder with the configurations for a single file: what the user named, or the original's on the hub."""
    if like is not None:
        return from_hub(like, CONFIGURATIONS) if like.startswith("hub:") else model_folder(like)
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    try:
        shapes = {name: _Shaped(entry) for name, entry in state.items()}
        name = str(fetch_diffusers_config(shapes)["pretrained_model_name_or_path"])
    except (KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
        raise ModelError(f"model file {path}: of no kind that diffusers knows ({error})") from error
    try:
        return from_hub(f"hub:{name}", CONFIGURATIONS)
    except ModelError as error:
        raise ModelError(
            f"model file {path}: a single file has no configurations and no vocabulary; those of {name} cannot be "
            f"fetched ({error}); name a folder of a pipeline of its kind: --like FOLDER"
        ) from error


class _Shaped:
    """What the recogniser looks at of a tensor."""

    def __init__(self, entry: Any) -> None:
        self.shape = torch.Size(entry["shape"] if isinstance(entry, dict) else entry.shape)


def _convert(path: Path, state: dict[str, Any], sample: Path, index: dict[str, Any], out: Path) -> None:
    import diffusers

    pipeline = getattr(diffusers, str(index["_class_name"]))  # of our own table: `recognise`
    single = path
    if path.suffix != ".safetensors":  # diffusers' loader reads it too, but ours refuses more
        single = out / "single.safetensors"
        _write(state, single)
        wide = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    else:
        names = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
        wide = {names.get(str(entry["dtype"]), torch.float32) for entry in state.values()}
    dtype = wide.pop() if len(wide) == 1 else torch.float32
    faults = (
        OSError,
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        NotImplementedError,
        ImportError,
    )
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    try:
        with _missing() as missing:
            opened = _single(pipeline, single, sample, dtype)
    except faults as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if "meta tensor" in reason:  # what diffusers' loader leaves of a weight that it did not find
            reason = "some are not in it; it is cut short, or of another kind"
        raise ModelError(
            f"model file {path}: its weights are not those of {sample.name or sample}, a {index['_class_name']}: "
            f"{reason}"
        ) from error
    finally:
        if single != path:
            single.unlink(missing_ok=True)
    for name, component in opened.components.items():
        if isinstance(component, torch.nn.Module):
            missing += [f"{name}.{key}" for key, one in component.named_parameters() if one.is_meta]
    if missing:
        raise ModelError(
            f"model file {path}: {len(missing)} weights of a {index['_class_name']} are not in it, among them "
            f"{missing[0]}; it is cut short, or of another kind than {sample.name or sample}"
        )
    opened.save_pretrained(str(out), safe_serialization=True)


def _single(pipeline: Any, file: Path, sample: Path, dtype: torch.dtype) -> Any:
    """The pipeline of a single file; of one with the network alone, the rest is the sample's."""
    options = {"local_files_only": True, "torch_dtype": dtype}
    family, _ = recognise(sample)
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    alone = (SingleFileComponentError, ValueError, KeyError, RuntimeError)
    try:
        return pipeline.from_single_file(str(file), config=str(sample), **options)
    except alone:
        weighty = [part(sample, name) for name in family.parts if name != family.network]
        if not all(any(place.glob("*.safetensors")) for place in weighty if place.is_dir()):
            raise
    import diffusers

    network = getattr(diffusers, family.classes[0]).from_single_file(
        str(file), config=str(sample), subfolder=family.network, **options
    )
    return pipeline.from_pretrained(str(sample), **{family.network: network}, **options)


@contextmanager
def _missing() -> Iterator[list[str]]:
    """Names of weights that a loader asked for and did not get, which it would leave drawn at random."""
    found: list[str] = []
    original = torch.nn.Module.load_state_dict

    def recorded(module: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(module, *args, **kwargs)
        found.extend(name for name in result.missing_keys if not name.endswith("position_ids"))
        return result

    torch.nn.Module.load_state_dict = recorded  # type: ignore
    try:
        yield found
    finally:
        torch.nn.Module.load_state_dict = original  # type: ignore
