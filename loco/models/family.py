"""The families of models: what each is recognised by, what it is made of, and what it takes. No torch.

A folder is recognised by its own files: the pipeline in `model_index.json`, or the network in `config.json`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loco.errors import ModelError
from loco.models.layout import part, read_json
from loco.models.noise import CONSISTENCY, DIFFUSION, EDM, FLOW


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes:
        name: Its name in cards and records; the module `loco.models.NAME` opens it.
        pipelines: diffusers pipeline classes that are saved this way.
        network: The part that predicts: `unet` or `transformer`.
        classes: diffusers classes of that part.
        schedulers: Scheduler classes that it may come with.
        latent: Whether it works on an autoencoder's latents.
        told: What it can be told: `nothing`, `words` or `a class`.
        encoders: Its text encoders, as pairs of parts (encoder, tokenizer).
        codec: The part that is the autoencoder of a latent model.
        resizable: Whether its network takes images of other sizes than its own: one of convolutions, or of positions
            that are computed and not learnt.
        usual_size: Cells of the latents that its pipeline takes, where nothing in a folder says a size.
    """

    name: str
    pipelines: tuple[str, ...]
    network: str
    classes: tuple[str, ...]
    schedulers: tuple[str, ...]
    latent: bool = False
    told: str = "nothing"
    encoders: tuple[tuple[str, str], ...] = ()
    codec: str = "vae"
    resizable: bool = False
    usual_size: int | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts with weights, the network first."""
        return (
            self.network,
            *((self.codec,) if self.latent else ()),
            *(encoder for encoder, _ in self.encoders),
        )


_CLIP = (("text_encoder", "tokenizer"),)
_CLIP_CLIP = (*_CLIP, ("text_encoder_2", "tokenizer_2"))

FAMILIES = (
    Family(
        "unet2d",
        ("DDPMPipeline", "DDIMPipeline", "ConsistencyModelPipeline"),
        "unet",
        ("UNet2DModel",),
        DIFFUSION + EDM + CONSISTENCY,
        resizable=True,
    ),
    Family(
        "ldm",
        ("LDMPipeline",),
        "unet",
        ("UNet2DModel",),
        DIFFUSION,
        latent=True,
        codec="vqvae",
        resizable=True,
    ),
    Family(
        "stable_diffusion",
        ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"),
        "unet",
        ("UNet2DConditionModel",),
        DIFFUSION,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
    Family(
        "sdxl",
        (
            "StableDiffusionXLPipeline",
            "StableDiffusionXLImg2ImgPipeline",
            "StableDiffusionXLInpaintPipeline",
        ),
        "unet",
        ("UNet2DConditionModel",),
        DIFFUSION + EDM,
        latent=True,
        told="words",
        encoders=_CLIP_CLIP,
        resizable=True,
    ),
    Family(
        "lcm",
        ("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"),
        "unet",
        ("UNet2DConditionModel",),
        DIFFUSION,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
    Family(
        "deepfloyd_if",
        ("IFPipeline", "IFImg2ImgPipeline"),
        "unet",
        ("UNet2DConditionModel",),
        DIFFUSION,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
    Family(
        "kolors",
        ("KolorsPipeline", "KolorsImg2ImgPipeline"),
        "unet",
        ("UNet2DConditionModel",),
        DIFFUSION,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
    Family(
        "dit",
        ("DiTPipeline",),
        "transformer",
        ("DiTTransformer2DModel", "Transformer2DModel"),
        DIFFUSION,
        latent=True,
        told="a class",
    ),
    Family(
        "pixart",
        ("PixArtAlphaPipeline", "PixArtSigmaPipeline"),
        "transformer",
        ("PixArtTransformer2DModel", "Transformer2DModel"),
        DIFFUSION,
        latent=True,
        told="words",
        encoders=_CLIP,
    ),
    Family(
        "chroma",
        ("ChromaPipeline", "ChromaImg2ImgPipeline"),
        "transformer",
        ("ChromaTransformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
    Family(
        "sd3",
        ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline"),
        "transformer",
        ("SD3Transformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=(*_CLIP_CLIP, ("text_encoder_3", "tokenizer_3")),
    ),
    Family(
        "flux",
        ("FluxPipeline", "FluxImg2ImgPipeline"),
        "transformer",
        ("FluxTransformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=_CLIP_CLIP,
        resizable=True,
    ),
    Family(
        "lumina2",
        ("Lumina2Pipeline",),
        "transformer",
        ("Lumina2Transformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
    Family(
        "sana",
        ("SanaPipeline",),
        "transformer",
        ("SanaTransformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
    Family(
        "auraflow",
        ("AuraFlowPipeline",),
        "transformer",
        ("AuraFlowTransformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=_CLIP,
    ),
    Family(
        "hunyuandit",
        ("HunyuanDiTPipeline",),
        "transformer",
        ("HunyuanDiT2DModel",),
        DIFFUSION,
        latent=True,
        told="words",
        encoders=_CLIP_CLIP,
        resizable=True,
    ),
    Family(
        "qwenimage",
        ("QwenImagePipeline", "QwenImageImg2ImgPipeline"),
        "transformer",
        ("QwenImageTransformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
        usual_size=128,
    ),
    Family(
        "flux2",
        ("Flux2KleinPipeline",),
        "transformer",
        ("Flux2Transformer2DModel",),
        FLOW,
        latent=True,
        told="words",
        encoders=_CLIP,
        resizable=True,
    ),
)

_BY_PIPELINE = {pipeline: family for family in FAMILIES for pipeline in family.pipelines}


def is_latent(name: str) -> bool:
    """Whether models of that family work on latents: x_t is then of another shape than the image."""
    return any(family.name == name and family.latent for family in FAMILIES)


def recognise(folder: Path) -> tuple[Family, dict[str, Any]]:
    """The family of the model in `folder`, and its `model_index.json` (empty where there is none).

    Raises `ModelError` for a folder that is no model, or of a kind that is not known, naming those that are.
    """
    if not folder.is_dir():
        raise ModelError(f"model folder {folder} does not exist; name the folder of a diffusers pipeline")
    index_file, config_file = folder / "model_index.json", folder / "config.json"
    if not index_file.exists() and config_file.exists():
        found = read_json(config_file, folder, "the network's configuration").get("_class_name")
        if found != "UNet2DModel":
            raise ModelError(
                f"model folder {folder}: a network alone is known only as UNet2DModel, found {found!r}; "
                f"name the folder of a whole pipeline, the one with model_index.json"
            )
        return FAMILIES[0], {}
    index = read_json(index_file, folder, "a diffusers pipeline")
    pipeline = index.get("_class_name")
    family = _BY_PIPELINE.get(pipeline) if isinstance(pipeline, str) else None
    if family is None:
        raise ModelError(
            f"model folder {folder}: expected one of {', '.join(one.pipelines[0] for one in FAMILIES)}, "
            f"found {pipeline!r}"
        )
    if family.name == "stable_diffusion" and _is_consistency(folder):
        family = _BY_PIPELINE["LatentConsistencyModelPipeline"]
    return family, index


def _is_consistency(folder: Path) -> bool:
    """Whether a Stable Diffusion folder holds a latent consistency model: its network is told the guidance."""
    network = read_json(part(folder, "unet") / "config.json", folder, "the network's configuration")
    return network.get("time_cond_proj_dim") is not None
