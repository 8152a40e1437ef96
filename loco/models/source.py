"""From what a user names a model by to its folder: `zoo:NAME`, `hub:OWNER/NAME` or a path."""

import re
from pathlib import Path

from loco.errors import ModelError

ZOO = Path(__file__).parents[1] / "zoo" / "models"

FETCHED = (
    "*.json",
    "*/*.txt",
    "*/*.model",
    "*/*.safetensors",
    "diffusion_pytorch_model.safetensors",
)
"""What is fetched from the hub: configurations, vocabularies, and the weights of parts, which cannot run code."""

LEFT = (
    "safety_checker/*",
    "image_encoder/*",
    "feature_extractor/*",
    "*.non_ema.*",
    "*onnx*",
    "*openvino*",
    "*flax*",
)
"""What is not: parts that no family here uses, and the same weights in other forms."""

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+)?")


def model_folder(source: str) -> Path:
    """Folder of a model source; raises `ModelError` for one that does not exist.

    `zoo:NAME` is a model that comes with the package, `hub:OWNER/NAME[@REVISION]` one on the model hub, fetched into
    its cache when it is not there yet; everything else is a folder.
    """
    if source.startswith("hub:"):
        return from_hub(source)
    if not source.startswith("zoo:"):
        return Path(source).expanduser().absolute()
    name = source.removeprefix("zoo:")
    known = sorted(path.name for path in ZOO.iterdir() if path.is_dir()) if ZOO.is_dir() else []
    if name not in known:
        raise ModelError(f"zoo model {name!r} does not exist; known are: {', '.join(known) or 'none'}")
    return ZOO / name


def from_hub(source: str, fetched: tuple[str, ...] = FETCHED, left: tuple[str, ...] = LEFT) -> Path:
    """The folder in the hub's cache of `hub:OWNER/NAME[@REVISION]`, its files that `fetched` takes and `left` does not.

    Raises `ModelError` for a name that is none, or one that cannot be fetched.
    """
    if not _HUB.fullmatch(source.removeprefix("hub:")):
        raise ModelError(
            f"hub model: expected hub:OWNER/NAME or hub:OWNER/NAME@REVISION, found {source[:200]!r}"
        )
    name, _, revision = source.removeprefix("hub:").partition("@")
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name, revision=revision or None, allow_patterns=list(fetched), ignore_patterns=list(left)
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"hub model {name!r} cannot be fetched: {reason}; check the name and the connection, or name a folder"
        ) from error
