"""Tiny Stable Diffusion models, and XL, as single files: the original programs' names, written from a folder."""

import re

import torch
from safetensors.torch import load_file, save_file

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_PLAIN = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def _inner(rest):
    """Within a block: a residual block's names are the original's, an attention's are the same."""
    head, _, tail = rest.partition(".")
    return f"{_RESNET[head]}.{tail}" if head in _RESNET else rest


def unet_name(key, layers, attended):
    """The original's name of a U-Net's weight; `attended` says of each upward level whether it attends."""
    for ours, theirs in _PLAIN.items():
        if key.startswith(f"{ours}."):
            return key.replace(ours, theirs, 1)
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{_inner(match[3])}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|\w+samplers)\.(\d)\.(.*)", key)
    way, level, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if way == "down":
        place = 1 + level * (layers + 1) + layer
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{place}.{int(kind == 'attentions')}.{_inner(rest)}"
    if kind == "upsamplers":
        last = level * (layers + 1) + layers
        return f"output_blocks.{last}.{1 + attended[level]}.{rest}"
    return f"output_blocks.{level * (layers + 1) + layer}.{int(kind == 'attentions')}.{_inner(rest)}"


def vae_name(key, levels):
    """The original's name of an autoencoder's weight."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda one: f"mid.block_{int(one[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
    for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        key = key.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
    key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    up = lambda one: f"up.{levels - 1 - int(one[1])}"  # noqa: E731
    key = re.sub(r"up_blocks\.(\d)(?=\.resnets)", up, key).replace(".resnets.", ".block.")
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda one: f"{up(one)}.upsample", key)


def original(folder, network):
    """The weights of a Stable Diffusion folder by the original's names; `network` is its U-Net's configuration."""
    [unet] = (folder / "unet").glob("*.safetensors")
    [vae] = (folder / "vae").glob("*.safetensors")
    [clip] = (folder / "text_encoder").glob("*.safetensors")
    attended = [kind.startswith("CrossAttn") for kind in network["up_block_types"]]
    found = {
        f"model.diffusion_model.{unet_name(key, network['layers_per_block'], attended)}": tensor
        for key, tensor in load_file(unet).items()
    }
    for key, tensor in load_file(vae).items():
        name = vae_name(key, 2)
        square = ".attn_1." in name and tensor.ndim == 2
        found[f"first_stage_model.{name}"] = tensor[:, :, None, None] if square else tensor
    for key, tensor in load_file(clip).items():
        name = key if key.startswith("text_model.") else f"text_model.{key}"
        found[f"cond_stage_model.transformer.{name}"] = tensor
    return {key: tensor.contiguous() for key, tensor in found.items()}


_OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
_OPEN_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def open_clip(state):
    """A CLIP text encoder by the names of OpenCLIP, which keeps query, key and value in one matrix."""
    found, joined = {}, {}
    for key, tensor in state.items():
        if key in _OPEN_CLIP:
            found[_OPEN_CLIP[key]] = tensor
        elif key == "text_projection.weight":
            found["text_projection"] = tensor.T
        elif match := re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", key):
            block, name, kind = f"transformer.resblocks.{match[1]}", match[2], match[3]
            if name in _OPEN_LAYER:
                found[f"{block}.{_OPEN_LAYER[name]}.{kind}"] = tensor
            else:
                joined.setdefault(f"{block}.attn.in_proj_{kind}", {})[name.removeprefix("self_attn.")] = (
                    tensor
                )
    parts = ("q_proj", "k_proj", "v_proj")
    return found | {key: torch.cat([one[part] for part in parts]) for key, one in joined.items()}


def original_xl(folder, network):
    """The weights of a Stable Diffusion XL folder by the original's names."""
    found = {
        key: tensor
        for key, tensor in original(folder, network).items()
        if not key.startswith("cond_stage_model.")
    }
    [first] = (folder / "text_encoder").glob("*.safetensors")
    [second] = (folder / "text_encoder_2").glob("*.safetensors")
    for key, tensor in load_file(first).items():
        name = key if key.startswith("text_model.") else f"text_model.{key}"
        found[f"conditioner.embedders.0.transformer.{name}"] = tensor
    for key, tensor in open_clip(load_file(second)).items():
        found[f"conditioner.embedders.1.model.{key}"] = tensor
    return {key: tensor.contiguous() for key, tensor in found.items()}


def write_single_xl(folder, network, path):
    """The same of Stable Diffusion XL."""
    save_file(original_xl(folder, network), path)
    return path


def write_single(folder, network, path):
    """The folder as one safetensors file in the original's layout."""
    save_file(original(folder, network), path)
    return path
