"""Regions from a segmentation model: a semantic segmenter with named classes, or SAM at a point or by itself.

The models are folders of the `transformers` package (an extra: `pip install 'loco-edit-service[segment]'`), opened
from safetensors, offline, without code of their own. What a model says of an image is kept under its content: the hash
of the model, of the image and of what was asked. Sizes are (height, width).

    hair=segment:FOLDER              the class `hair` of a semantic segmenter
    eyes=segment:FOLDER#l_eye        another name's class, or its number
    face=sam:FOLDER@0.5,0.4          what SAM sees at that point (fractions of width and height)
    part=sam:FOLDER#0                SAM's masks over a grid of points, the largest first

References: SegFormer (Xie et al., arXiv 2105.15203); Segment Anything (Kirillov et al., arXiv 2304.02643), section 5
for the automatic masks: a grid of prompts, filtered by predicted quality, without near duplicates.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loco.decoding import decode, read_bytes
from loco.errors import ImageError, InputError, ModelError, RoiAbsent
from loco.files import write_atomic
from loco.ids import content_id, file_id
from loco.images import Picture
from loco.outside import read_text
from loco.rois.roi import ImageLike, Roi

GRID = 8
"""SAM's own masks are asked for at GRID x GRID points."""

_BEST, _SAME = 0.7, 0.7
"""Predicted quality from which a mask counts relative to the best, and overlap from which two are one."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Segmenter:
    """What to ask which model: `kind` is `segment` or `sam`; `what` a class, a number, or a point `x,y`."""

    kind: str
    folder: str
    what: str

    @classmethod
    def parse(cls, roi: str, text: str) -> "Segmenter":
        """Read `segment:FOLDER[#CLASS]`, `sam:FOLDER@x,y` or `sam:FOLDER#K`; raises `InputError`."""
        kind, _, rest = text.partition(":")
        mark = "@" if kind == "sam" and "@" in rest else "#"
        folder, _, what = rest.rpartition(mark) if mark in rest else (rest, "", "")
        one = cls(kind, folder, what or (roi if kind == "segment" else ""))
        if (
            kind not in ("segment", "sam")
            or not folder
            or (kind == "sam" and not (one.point or what.isdecimal()))
        ):
            raise InputError(
                f"ROI '{roi}={text}': expected NAME=segment:FOLDER[#CLASS], NAME=sam:FOLDER@x,y or NAME=sam:FOLDER#K"
            )
        return one

    @property
    def point(self) -> tuple[float, float] | None:
        """The point (x, y) as fractions, where it is one."""
        parts = self.what.split(",")
        try:
            x, y = (float(part) for part in parts)
        except ValueError:
            return None
        return (x, y) if 0 <= x <= 1 and 0 <= y <= 1 else None

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        return f"{self.kind}:{self.folder}{'@' if self.kind == 'sam' and self.point else '#'}{self.what}"


def segmented(
    name: str, segmenter: Segmenter, image: ImageLike, picture: Callable[[], Picture], cache: Path | None
) -> Roi:
    """The region `name` of an image, at its size, from the cache where it is there: `picture` is asked only else.

    Raises `RoiAbsent` where the model sees no such thing in the image, `InputError` for a class that it does not have,
    `ModelError` for a folder that is no such model.
    """
    folder = Path(segmenter.folder).expanduser()
    if segmenter.kind == "segment":
        numbers = _numbers(folder, segmenter.what)
        labels = _kept(cache, folder, image, "labels", lambda: _labels(folder, picture()))
        mask = np.isin(labels, numbers)
    elif segmenter.point is not None:
        point = segmenter.point
        mask = _kept(cache, folder, image, segmenter.what, lambda: _at(folder, picture(), point)) > 0
    else:
        ranked = _kept(cache, folder, image, f"all {GRID}", lambda: _everything(folder, picture()))
        mask = ((ranked.astype(np.uint16) >> int(segmenter.what)) & 1).astype(np.bool_)
    if not mask.any():
        raise RoiAbsent(f"ROI '{name}' of {image.name}: {folder.name} sees no {segmenter.what or name} in it")
    return Roi(name, mask, str(segmenter), image=image.name)


def _kept(cache: Path | None, folder: Path, image: ImageLike, asked: str, make: Any) -> NDArray[Any]:
    """The map [H, W] of whole numbers that `make` gives, kept as a PNG under its content."""
    if cache is None:
        return np.asarray(make())
    key = content_id("segmentation", [model_id(folder), image.id, asked])
    path = cache / key[:2] / f"{key}.png"
    if path.is_file():
        try:
            known = np.asarray(decode(read_bytes(path), path))
            if known.shape == (image.height, image.width):
                return known.astype(np.int64)
        except ImageError:
            pass  # a damaged file is made again
    found = np.asarray(make())
    data = BytesIO()
    Image.fromarray(found.astype(np.uint16 if found.max() > 255 else np.uint8)).save(data, "PNG")
    write_atomic(path, data.getvalue())
    return found


def model_id(folder: Path) -> str:
    """Hash of a model folder's weights and configuration."""
    files = [
        folder / "config.json",
        folder / "preprocessor_config.json",
        *sorted(folder.glob("*.safetensors")),
    ]
    stamps = []
    for path in files:
        if path.is_file():
            state = path.stat()
            stamps.append((str(path), state.st_mtime_ns, state.st_size))
    return _model_id(tuple(stamps))


@lru_cache(maxsize=8)
def _model_id(stamps: tuple[tuple[str, int, int], ...]) -> str:
    return content_id("segmenter", [[Path(path).name, file_id(Path(path))] for path, _, _ in stamps])


def _config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    path = folder / name
    try:
        if not path.exists():
            if name != "config.json":
                return {}
            raise ModelError(f"{folder}: no segmentation model (no config.json); name a transformers folder")
        found = json.loads(read_text(path, ModelError))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from error
    return found if isinstance(found, dict) else {}


def _numbers(folder: Path, what: str) -> list[int]:
    """The class numbers that a class's name, in any case, or its number means."""
    table = {int(number): str(label) for number, label in _config(folder).get("id2label", {}).items()}
    found = [
        number for number, label in table.items() if label.lower() == what.lower() or str(number) == what
    ]
    if not found:
        raise InputError(
            f"{folder}: the segmenter has no class {what!r}; it has: {', '.join(table.values()) or 'none'}"
        )
    return found


@lru_cache(maxsize=2)
def _open(folder: Path, kind: str) -> Any:
    """The model, in evaluation mode, on the best device; once a process."""
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            "regions from a segmentation model need transformers: pip install 'loco-edit-service[segment]'"
        ) from error
    import torch

    opener = transformers.SamModel if kind == "sam" else transformers.AutoModelForSemanticSegmentation
    try:
        model = opener.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{folder}: cannot be opened as a segmentation model: {reason}") from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _input(folder: Path, pixels: NDArray[np.uint8], height: int, width: int) -> Any:
    """Pixels as the model wants them: [1, 3, height, width], resized and normalised."""
    import torch

    config = _config(folder, "preprocessor_config.json")
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    mean, std = np.array(config.get("image_mean", _MEAN)), np.array(config.get("image_std", _STD))
    planes = (np.asarray(image).astype(np.float64) / 255 - mean) / std
    return torch.from_numpy(planes.transpose(2, 0, 1)[None].astype(np.float32))


def _labels(folder: Path, picture: Picture) -> NDArray[np.int64]:
    """Class numbers [H, W] of a semantic segmenter."""
    import torch

    model = _open(folder, "segment")
    size = _config(folder, "preprocessor_config.json").get("size", {})
    size = {"height": size, "width": size} if isinstance(size, int) else size
    side = size.get("shortest_edge") or 512
    x = _input(folder, picture.pixels, size.get("height", side), size.get("width", side)).to(model.device)
    with torch.no_grad():
        logits = model(pixel_values=x).logits
        shape = picture.pixels.shape[:2]
        large = torch.nn.functional.interpolate(logits, size=shape, mode="bilinear", align_corners=False)
    return np.asarray(large.argmax(dim=1)[0].cpu().numpy(), dtype=np.int64)


def _sam(
    folder: Path, picture: Picture, points: list[tuple[float, float]]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """SAM's best mask [H, W] at each point, and the quality that it predicts of each."""
    import torch

    model = _open(folder, "sam")
    side = int(model.config.vision_config.image_size)
    height, width = picture.pixels.shape[:2]
    scale = side / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    x = torch.zeros(1, 3, side, side)
    x[:, :, :h, :w] = _input(folder, picture.pixels, h, w)
    where = torch.tensor([[[[px * w, py * h]] for px, py in points]], dtype=torch.float32)
    with torch.no_grad():
        found = model(pixel_values=x.to(model.device), input_points=where.to(model.device))
        best = found.iou_scores[0].argmax(dim=1)
        masks = found.pred_masks[0][torch.arange(len(points), device=best.device), best]
        large = torch.nn.functional.interpolate(masks[:, None], size=(side, side), mode="bilinear")[
            :, :, :h, :w
        ]
        full = torch.nn.functional.interpolate(large, size=(height, width), mode="bilinear")[:, 0]
    scores = found.iou_scores[0].max(dim=1).values
    return (full > 0).cpu().numpy(), scores.cpu().numpy()


def _at(folder: Path, picture: Picture, point: tuple[float, float]) -> NDArray[np.uint8]:
    """1 where SAM sees what is at the point, else 0."""
    masks, _ = _sam(folder, picture, [point])
    return masks[0].astype(np.uint8)


def _everything(folder: Path, picture: Picture) -> NDArray[np.uint16]:
    """Bit k of each pixel says whether it is in the k-th largest of SAM's masks; at most 16 of them."""
    marks = [(k + 0.5) / GRID for k in range(GRID)]
    masks, scores = _sam(folder, picture, [(x, y) for y in marks for x in marks])
    order = np.argsort(-scores, kind="stable")
    kept: list[NDArray[np.bool_]] = []
    for k in order:
        mask = masks[k]
        if not mask.any() or mask.all() or scores[k] < _BEST * scores[order[0]]:
            continue
        if all((mask & other).sum() / (mask | other).sum() < _SAME for other in kept):
            kept.append(mask)
    kept = sorted(kept, key=lambda mask: -int(mask.sum()))[:16]
    bits = np.zeros(picture.pixels.shape[:2], np.uint16)
    for k, mask in enumerate(kept):
        bits |= mask.astype(np.uint16) << k
    return bits
