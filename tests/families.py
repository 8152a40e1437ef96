"""Small randomly drawn models of every family, saved by diffusers' own pipelines: the real format on disk."""

import json
import string
import warnings

import torch

from tests.toys import save_pipeline, tiny_network

WORDS = ["a", "face", "with", "and", "smile", "hat", "red", "cat"]


def clip_tokenizer(folder):
    """A CLIP tokenizer as the hub has it: vocab.json, merges.txt and their settings."""
    folder.mkdir(parents=True)
    letters = sorted(set("".join(WORDS)))
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 16,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)


def t5_tokenizer():
    from transformers import T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), *((f"▁{word}", -1.0) for word in WORDS)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def gemma_tokenizer():
    """Pieces of letters, and all bytes for what has none, padded on the left where its pipelines do not say another."""
    from transformers import GemmaTokenizer

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *string.ascii_letters, ".", "-", "re", "red", "▁a"]
    merges = [("r", "e"), ("re", "d"), ("▁", "a")]
    return GemmaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)


def gemma(tokenizer, width=16):
    from transformers import Gemma2Config, Gemma2Model

    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            sliding_window=4096,
            max_position_embeddings=8192,
            query_pre_attn_scalar=8,
        )
    )


def llama_tokenizer():
    """The same pieces, ended as T5's are, padded on the left: its own side, and its pipeline asks for no other."""
    from transformers import LlamaTokenizer

    pieces = ["<unk>", "<s>", "</s>", "<pad>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *string.ascii_letters, ".", "re", "red", "▁a"]
    return LlamaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[("r", "e"), ("re", "d"), ("▁", "a")],
        pad_token="<pad>",
        add_bos_token=False,
        add_eos_token=True,
    )


def umt5(tokenizer, width=16):
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    )


def bert_tokenizer():
    from transformers import BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "s", "##mile", "##s", "."]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=77)


def bert(tokenizer, width=16):
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=80,
        )
    )


def glm_tokenizer(folder):
    """A sentencepiece model of few words, as `tokenizer.model`."""
    import sentencepiece
    from diffusers.pipelines.kolors import ChatGLMTokenizer

    folder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 4),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=30,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return ChatGLMTokenizer(str(folder / "tokenizer.model"))


def glm(tokenizer, width=16):
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    network = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=len(tokenizer),
            hidden_size=width,
            ffn_hidden_size=32,
            kv_channels=8,
            num_attention_heads=2,
            seq_length=256,
            multi_query_attention=True,
            add_qkv_bias=True,
            bias_dropout_fusion=False,
            original_rope=True,
        )
    )
    for name, weight in network.named_parameters():  # its class leaves them as the memory was
        torch.nn.init.normal_(weight, mean=float("norm" in name), std=0.1)
    return network


def qwen_tokenizer():
    """Bytes, a few pieces of words, and the marks of conversations."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    pieces = ["<|endoftext|>", *sorted(ByteLevel.alphabet()), "re", "red", "\u0120a"]
    tokenizer = Qwen2Tokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[("r", "e"), ("re", "d"), ("\u0120", "a")],
        model_max_length=131072,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


QWEN3_TEMPLATE = r"""{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""
"""Of Qwen3's template, what a conversation of one turn comes to."""


def qwen3(tokenizer, width=8):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=16,
            num_hidden_layers=28,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=4,
        )
    )


def qwen_vl(tokenizer, width=16):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]},
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    pictures = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": width,
        "fullatt_block_indexes": [0],
    }
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=words, vision_config=pictures))


def clip(tokenizer, *, projected=False, width=16):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    ends = tokenizer.convert_tokens_to_ids(["<|startoftext|>", "<|endoftext|>"])
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            projection_dim=width,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=ends[0],
            eos_token_id=ends[1],
            pad_token_id=ends[1],
        )
    )


def t5(tokenizer, width=16):
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
        )
    )


def autoencoder(channels=4, **changes):
    """A random autoencoder whose latents have unit variance, which is what scaling factors are for."""
    from diffusers import AutoencoderKL

    network = AutoencoderKL(
        **{
            "block_out_channels": (8, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "latent_channels": channels,
            "norm_num_groups": 4,
            "sample_size": 16,
            **changes,
        }
    ).eval()
    picture = torch.nn.functional.interpolate(torch.randn(8, 3, 4, 4), (16, 16), mode="bicubic") / 2
    with torch.no_grad():
        spread = float(network.encode(picture).latent_dist.mean.std())
    network.register_to_config(scaling_factor=1 / spread)
    return network


def told_unet(**changes):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 16,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
            **changes,
        }
    )


LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _pixels(folder, network=None, **noise):
    save_pipeline(folder, network=network, **noise)


def _flat(folder):
    """As the older models of the hub lie: everything in the root."""
    save_pipeline(folder)
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()


def _converted(folder):
    """A checkpoint in the layout of P2 weighting, as `loco model convert` leaves it."""
    from loco.models.adm import convert
    from tests.models.test_adm import SPOKEN, state_of

    checkpoint = folder.parent / f"{folder.name}.pt"
    torch.save(state_of("p2"), checkpoint)
    convert(checkpoint, folder, SPOKEN["p2"])


def _edm(folder):
    from diffusers import DDPMPipeline, EDMEulerScheduler

    pipeline = DDPMPipeline(tiny_network(), EDMEulerScheduler())
    pipeline.save_pretrained(str(folder))


def _stable_diffusion(folder, **noise):
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    tokenizer = clip_tokenizer(folder.parent / f"{folder.name}-words")
    StableDiffusionPipeline(
        autoencoder(),
        clip(tokenizer),
        tokenizer,
        told_unet(),
        PNDMScheduler(**LINEAR, skip_prk_steps=True, steps_offset=1, **noise),
        None,
        None,
        requires_safety_checker=False,
    ).save_pretrained(str(folder))


def _inpaint(folder):
    from diffusers import PNDMScheduler, StableDiffusionInpaintPipeline

    tokenizer = clip_tokenizer(folder.parent / f"{folder.name}-words")
    StableDiffusionInpaintPipeline(
        autoencoder(),
        clip(tokenizer),
        tokenizer,
        told_unet(in_channels=9),
        PNDMScheduler(**LINEAR, skip_prk_steps=True, steps_offset=1),
        None,
        None,
        requires_safety_checker=False,
    ).save_pretrained(str(folder))


def _inpaint_xl(folder):
    from diffusers import StableDiffusionXLInpaintPipeline

    _sdxl(folder, pipeline=StableDiffusionXLInpaintPipeline, in_channels=9)


def _zero_signal(folder):
    from diffusers import DDIMScheduler

    _stable_diffusion(folder)
    DDIMScheduler(
        **LINEAR,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    ).save_pretrained(str(folder / "scheduler"))
    _scheduler(folder, "DDIMScheduler")


def _scheduler(folder, name):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", name]}))


def _sdxl(folder, scheduler=None, *, second=16, pipeline=None, **network):
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    first = clip_tokenizer(folder.parent / f"{folder.name}-words")
    (pipeline or StableDiffusionXLPipeline)(
        autoencoder(),
        clip(first),
        clip(first, projected=True, width=second),
        first,
        first,
        told_unet(
            cross_attention_dim=16 + second,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=8 * 6 + second,
            use_linear_projection=True,
            **network,
        ),
        scheduler or EulerDiscreteScheduler(**LINEAR),
        add_watermarker=False,
    ).save_pretrained(str(folder))


def _wide_second(folder):
    """Encoders are told apart by their widths in single files, which the real ones have: 768 and 1280."""
    _sdxl(folder, second=24)


def _playground(folder):
    from diffusers import EDMEulerScheduler

    _sdxl(folder, EDMEulerScheduler())


def _continuous(folder):
    """As the CosXL models are: k-diffusion's clock, ln(sigma) / 4."""
    from diffusers import EulerDiscreteScheduler

    _sdxl(
        folder,
        EulerDiscreteScheduler(**LINEAR, prediction_type="v_prediction", timestep_type="continuous"),
    )


def _lcm_sdxl(folder):
    from diffusers import LCMScheduler

    _sdxl(folder, LCMScheduler(), time_cond_proj_dim=16)


def _refiner(folder):
    """The second CLIP alone, told how beautiful the image is."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline

    words = clip_tokenizer(folder.parent / f"{folder.name}-words")
    StableDiffusionXLImg2ImgPipeline(
        autoencoder(),
        None,
        clip(words, projected=True),
        None,
        words,
        told_unet(
            cross_attention_dim=16,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=8 * 5 + 16,
        ),
        EulerDiscreteScheduler(**LINEAR),
        requires_aesthetics_score=True,
        add_watermarker=False,
    ).save_pretrained(str(folder))


def _consistency(folder, **network):
    from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline

    ConsistencyModelPipeline(tiny_network(**network), CMStochasticIterativeScheduler()).save_pretrained(
        str(folder)
    )


def _lcm(folder):
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    tokenizer = clip_tokenizer(folder.parent / f"{folder.name}-words")
    LatentConsistencyModelPipeline(
        autoencoder(),
        clip(tokenizer),
        tokenizer,
        told_unet(time_cond_proj_dim=16),
        LCMScheduler(),
        None,
        None,
        requires_safety_checker=False,
    ).save_pretrained(str(folder))


def _deepfloyd_if(folder):
    from diffusers import DDPMScheduler, IFPipeline

    tokenizer = t5_tokenizer()
    IFPipeline(
        tokenizer,
        t5(tokenizer),
        told_unet(
            in_channels=3,
            out_channels=6,
            block_out_channels=(32, 32),
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            attention_head_dim=8,
            norm_num_groups=8,
            cross_attention_dim=32,
            resnet_time_scale_shift="scale_shift",
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            encoder_hid_dim=16,
            encoder_hid_dim_type="text_proj",
            act_fn="gelu",
            time_embedding_act_fn="gelu",
            cross_attention_norm="group_norm",
        ),
        DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range"),
        None,
        None,
        None,
        requires_safety_checker=False,
    ).save_pretrained(str(folder))


def _dit(folder):
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=1000,
        attention_bias=True,
    )
    with torch.no_grad():
        # A DiT starts with zeros at its end; a model whose answer does not depend on x would prove nothing.
        for weight in transformer.parameters():
            if not bool(weight.any()):
                weight.normal_(std=0.02)
    DiTPipeline(
        transformer, autoencoder(), DDIMScheduler(), id2label={3: "tabby, tabby cat", 4: "tiger"}
    ).save_pretrained(str(folder))
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {"3": "tabby, tabby cat", "4": "tiger"}
    (folder / "model_index.json").write_text(json.dumps(index))


def _sd3(folder):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    first, third = clip_tokenizer(folder.parent / f"{folder.name}-words"), t5_tokenizer()
    StableDiffusion3Pipeline(
        SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            pos_embed_max_size=8,
            qk_norm="rms_norm",
        ),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        autoencoder(shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        clip(first, projected=True),
        first,
        clip(first, projected=True),
        first,
        t5(third, width=32),
        third,
    ).save_pretrained(str(folder))


def _vq(**changes):
    from diffusers import VQModel

    network = VQModel(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        num_vq_embeddings=32,
        norm_num_groups=4,
        sample_size=16,
        **changes,
    ).eval()
    picture = torch.nn.functional.interpolate(torch.randn(8, 3, 4, 4), (16, 16), mode="bicubic") / 2
    with torch.no_grad():
        network.register_to_config(scaling_factor=1 / float(network.encode(picture).latents.std()))
    return network


def _ldm(folder):
    """As CompVis/ldm-celebahq-256: an unconditional network on the latents of a VQModel, under `vqvae`."""
    from diffusers import DDIMScheduler, LDMPipeline

    LDMPipeline(_vq(), tiny_network(), DDIMScheduler(beta_start=0.0015, beta_end=0.0195)).save_pretrained(
        str(folder)
    )


def _tiny_autoencoder(folder):
    """Stable Diffusion with the small autoencoder that previews use."""
    from diffusers import AutoencoderTiny

    _stable_diffusion(folder)
    for path in (folder / "vae").iterdir():
        path.unlink()
    network = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    with torch.no_grad():
        spread = float(network.encode(torch.rand(8, 3, 16, 16) * 2 - 1).latents.std())
        for weight in network.decoder.parameters():  # a random one hardly answers: rounding would be all
            weight.mul_(2.0)
    network.register_to_config(scaling_factor=1 / spread)
    network.save_pretrained(str(folder / "vae"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"vae": ["diffusers", "AutoencoderTiny"]}))


def _pixart(folder, *, sigma=False):
    from diffusers import (
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtSigmaPipeline,
        PixArtTransformer2DModel,
    )

    tokenizer = t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        num_layers=2,
        sample_size=8,
        caption_channels=16,
        use_additional_conditions=False,
    )
    kind = PixArtSigmaPipeline if sigma else PixArtAlphaPipeline
    kind(
        tokenizer=tokenizer,
        text_encoder=t5(tokenizer),
        vae=autoencoder(),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    ).save_pretrained(str(folder))


def _chroma(folder):
    from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler

    tokenizer = t5_tokenizer()
    ChromaPipeline(
        FlowMatchEulerDiscreteScheduler(shift=1.0),
        autoencoder(shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        t5(tokenizer, width=32),
        tokenizer,
        ChromaTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ),
    ).save_pretrained(str(folder))


def _flux(folder, *, guidance=False):
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    first, second = clip_tokenizer(folder.parent / f"{folder.name}-words"), t5_tokenizer()
    FluxPipeline(
        FlowMatchEulerDiscreteScheduler(shift=1.0),
        autoencoder(shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        clip(first),
        first,
        t5(second, width=32),
        second,
        FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance,
        ),
    ).save_pretrained(str(folder))


def _lumina2(folder):
    from diffusers import FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel

    tokenizer = gemma_tokenizer()
    Lumina2Pipeline(
        Lumina2Transformer2DModel(
            sample_size=8,
            in_channels=4,
            hidden_size=24,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=8,
            axes_dim_rope=(4, 4, 4),
            axes_lens=(512, 16, 16),
            cap_feat_dim=16,
        ),
        FlowMatchEulerDiscreteScheduler(shift=6.0),
        autoencoder(shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        gemma(tokenizer),
        tokenizer,
    ).save_pretrained(str(folder))


def _sana(folder):
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel

    tokenizer = gemma_tokenizer()
    network = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), (5,)),
        decoder_qkv_multiscales=((), (), (5,)),
    ).eval()
    with torch.no_grad():
        spread = float(network.encode(torch.rand(8, 3, 32, 32) * 2 - 1).latent.std())
    network.register_to_config(scaling_factor=1 / spread)
    SanaPipeline(
        tokenizer,
        gemma(tokenizer),
        network,
        SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=16,
            sample_size=8,
        ),
        DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, final_sigmas_type="zero"
        ),
    ).save_pretrained(str(folder))


def _auraflow(folder):
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler

    tokenizer = llama_tokenizer()
    AuraFlowPipeline(
        tokenizer,
        umt5(tokenizer),
        autoencoder(),
        AuraFlowTransformer2DModel(
            sample_size=8,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            caption_projection_dim=16,
            pos_embed_max_size=36,
        ),
        FlowMatchEulerDiscreteScheduler(shift=1.73),
    ).save_pretrained(str(folder))


def _hunyuandit(folder, *, told_sizes=True):
    from diffusers import DDPMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline

    first, second = bert_tokenizer(), t5_tokenizer()
    HunyuanDiTPipeline(
        autoencoder(  # its pipeline counts positions as of one that makes images 8 times smaller
            block_out_channels=(4, 4, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
        ),
        bert(first),
        first,
        HunyuanDiT2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            patch_size=2,
            sample_size=8,
            hidden_size=16,
            num_layers=4,
            mlp_ratio=2.0,
            cross_attention_dim=16,
            cross_attention_dim_t5=16,
            pooled_projection_dim=16,
            use_style_cond_and_image_meta_size=told_sizes,
        ),
        DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.03,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            steps_offset=1,
            clip_sample=False,
        ),
        None,
        None,
        requires_safety_checker=False,
        text_encoder_2=t5(second),
        tokenizer_2=second,
    ).save_pretrained(str(folder))


def _kolors(folder):
    from diffusers import EulerDiscreteScheduler, KolorsPipeline

    tokenizer = glm_tokenizer(folder.parent / f"{folder.name}-words")
    KolorsPipeline(
        autoencoder(),
        glm(tokenizer),
        tokenizer,
        told_unet(
            cross_attention_dim=16,
            encoder_hid_dim=16,
            encoder_hid_dim_type="text_proj",
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=8 * 6 + 16,
        ),
        EulerDiscreteScheduler(
            num_train_timesteps=1100, beta_start=0.00085, beta_end=0.014, beta_schedule="scaled_linear"
        ),
    ).save_pretrained(str(folder))


def _qwenimage(folder):
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )

    tokenizer = qwen_tokenizer()
    network = AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True]
    ).eval()
    with torch.no_grad():
        seen = network.encode(torch.rand(8, 3, 1, 16, 16) * 2 - 1).latent_dist.mean
    network.register_to_config(
        latents_mean=seen.mean((0, 2, 3, 4)).tolist(), latents_std=seen.std((0, 2, 3, 4)).tolist()
    )
    QwenImagePipeline(
        FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True),
        network,
        qwen_vl(tokenizer),
        tokenizer,
        QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 4, 8),
        ),
    ).save_pretrained(str(folder))
    # Its class has no size, and takes 128 cells where nothing says another.
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": 8}))


def _flux2(folder, *, distilled=False):
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )

    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = QWEN3_TEMPLATE
    network = AutoencoderKLFlux2(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    ).eval()
    with torch.no_grad():
        cells = network.encode(torch.rand(8, 3, 16, 16) * 2 - 1).latent_dist.mean
        patches = torch.nn.functional.pixel_unshuffle(cells, 2)
        network.bn.running_mean.copy_(patches.mean((0, 2, 3)))
        network.bn.running_var.copy_(patches.var((0, 2, 3)))
    Flux2KleinPipeline(
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        network,
        qwen3(tokenizer),
        tokenizer,
        Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        is_distilled=distilled,
    ).save_pretrained(str(folder))


BUILDERS = {
    "unet2d": _pixels,
    "unet2d-v-cosine": lambda folder: _pixels(
        folder, prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2"
    ),
    "unet2d-sample-scaled": lambda folder: _pixels(
        folder, prediction_type="sample", beta_schedule="scaled_linear"
    ),
    "unet2d-v-zero-signal": lambda folder: _pixels(
        folder, prediction_type="v_prediction", rescale_betas_zero_snr=True
    ),
    "unet2d-flat": _flat,
    "unet2d-converted": _converted,
    "unet2d-grey": lambda folder: _pixels(folder, tiny_network(in_channels=1, out_channels=1)),
    "unet2d-class": lambda folder: _pixels(folder, tiny_network(num_class_embeds=5)),
    "edm": _edm,
    "consistency": _consistency,
    "consistency-class": lambda folder: _consistency(folder, num_class_embeds=5),
    "ldm": _ldm,
    "stable_diffusion": _stable_diffusion,
    "stable_diffusion-tiny": _tiny_autoencoder,
    "stable_diffusion-2": lambda folder: _stable_diffusion(folder, prediction_type="v_prediction"),
    "stable_diffusion-zero-signal": _zero_signal,
    "stable_diffusion-inpaint": _inpaint,
    "sdxl": _sdxl,
    "sdxl-edm": _playground,
    "sdxl-continuous": _continuous,
    "sdxl-lcm": _lcm_sdxl,
    "sdxl-refiner": _refiner,
    "sdxl-inpaint": _inpaint_xl,
    "lcm": _lcm,
    "deepfloyd_if": _deepfloyd_if,
    "dit": _dit,
    "pixart": _pixart,
    "pixart-sigma": lambda folder: _pixart(folder, sigma=True),
    "chroma": _chroma,
    "sd3": _sd3,
    "flux-schnell": _flux,
    "flux-dev": lambda folder: _flux(folder, guidance=True),
    "lumina2": _lumina2,
    "sana": _sana,
    "auraflow": _auraflow,
    "kolors": _kolors,
    "qwenimage": _qwenimage,
    "flux2": _flux2,
    "flux2-distilled": lambda folder: _flux2(folder, distilled=True),
    "hunyuandit": _hunyuandit,
    "hunyuandit-1.2": lambda folder: _hunyuandit(folder, told_sizes=False),
}
BESIDE = {"sdxl-widths": _wide_second}
"""What is built for a test of its own, and left out of the contract."""
PIXELS = ("unet2d", "edm", "consistency")
CLASSES = ["unet2d-class", "consistency-class"]
"""Pixel models that are told a class with every image."""
TOLD = [name for name in BUILDERS if not name.startswith((*PIXELS, "ldm"))]
SPOKEN = ["lumina2", "sana", "auraflow", "hunyuandit", "kolors", "qwenimage", "flux2"]
"""Those whose pipelines tell the prompt, what is led from and what is too long each in a way of their own."""
LATENT = ["ldm", *(name for name in TOLD if name != "deepfloyd_if")]


def build(name, folder):
    """The model `name` of `BUILDERS` or `BESIDE` in `folder`, drawn with a fixed seed."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of diffusers about itself
        (BUILDERS | BESIDE)[name](folder)
    _calm(folder)
    return folder


def _calm(folder):
    """Make the last layer's weights smaller: a random network's wild answers have no flow to be followed back."""
    from safetensors.torch import load_file, save_file

    places = [folder / "unet", folder / "transformer", folder]
    [path] = [one for place in places for one in place.glob("diffusion_pytorch_model.safetensors")]
    tensors = load_file(path)
    last = [name for name in tensors if name.startswith(("conv_out.", "proj_out", "norm_out.linear_2."))]
    assert last
    for name in last:
        tensors[name] *= 0.1
    save_file(tensors, path, metadata={"format": "pt"})


def prompt_for(name):
    """Something that the model can be told."""
    return "tiger" if name == "dit" else "3" if name in CLASSES else "a red cat"
