"""Tiny segmentation models with random weights."""

import json

import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation


def semantic(folder):
    """The folder of a semantic segmenter with three classes."""
    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[1, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[1, 1],
        decoder_hidden_size=16,
        id2label={0: "skin", 1: "Hair", 2: "nose"},
        label2id={"skin": 0, "Hair": 1, "nose": 2},
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    return folder
