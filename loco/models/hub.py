"""Models on the hub: only the files that are needed, by the hub's own client, which resumes and keeps a cache.

Its token comes from the environment (`HF_TOKEN`) or from where its own login left it; without a connection what is in
the cache is used.
"""

from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from loco.errors import ModelError
from loco.models.family import recognise
from loco.models.layout import STEMS, VARIANTS

_PICKLED = ("diffusion_pytorch_model.bin", "pytorch_model.bin")


def snapshot(name: str, revision: str | None, wanted: tuple[str, ...], left: tuple[str, ...] = ()) -> Path:
    """The folder of a hub repository with the files that `wanted` takes and `left` does not; raises `ModelError`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of its own client
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(wanted), ignore_patterns=list(left) or None
            )
        )
    except GatedRepoError as error:
        raise ModelError(
            f"hub model {name!r} is gated: accept its conditions on its page at the hub, then name your token in "
            f"HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"hub model {name!r} cannot be fetched: there is none of that name, or it is private; check the name, or "
            f"name a token that may read it in HF_TOKEN"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"hub model {name!r} cannot be fetched: {reason}; check the name and the connection, or name a folder"
        ) from error


def model_snapshot(name: str, revision: str | None, small: tuple[str, ...]) -> Path:
    """The folder of a model with its small files and the weights of its parts, in one form each.

    What kind of model it is, is found out from its small files before anything large is fetched.
    """
    folder = snapshot(name, revision, small)
    commit = folder.name
    listed = _listed(name, commit)
    if listed is None:  # without a connection: what was fetched before
        return folder
    family, _ = recognise(folder)
    wanted: list[str] = []
    for part in family.parts:
        inside = [file for file in listed if str(PurePosixPath(file).parent) == part]
        place = f"{part}/" if inside else ""
        if part == family.network or inside:
            wanted += [f"{place}{file}" for file in needed([_last(one, place) for one in listed])]
    return snapshot(name, commit, (*small, *wanted))


def needed(files: list[str]) -> list[str]:
    """Of the files in one part's folder, those of its weights in one form: safetensors rather than pickled ones.

    Whole rather than in shards, in full precision rather than in half; as `loco.models.layout.find_weights` takes them.
    """
    for stem in STEMS:
        for variant in VARIANTS:
            if f"{stem}{variant}.safetensors" in files:
                return [f"{stem}{variant}.safetensors"]
            if f"{stem}.safetensors.index{variant}.json" in files:
                return [one for one in files if fnmatchcase(one, f"{stem}{variant}-*-of-*.safetensors")]
    for whole in _PICKLED:
        if whole in files:
            return [whole]
        if f"{whole}.index.json" in files:
            return [one for one in files if fnmatchcase(one, whole.replace(".bin", "-*-of-*.bin"))]
    return []


def _last(file: str, place: str) -> str:
    """The file's name in its folder; empty for one of another folder."""
    rest = file.removeprefix(place)
    return rest if file.startswith(place) and "/" not in rest else ""


def _listed(name: str, commit: str) -> list[str] | None:
    """The files of a repository, or None without a connection."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    try:
        return list(HfApi().list_repo_files(name, revision=commit))
    except (OfflineModeIsEnabled, HfHubHTTPError, HTTPError, OSError):
        return None
