"""Scorers of transformers: tiny classifiers and a tiny CLIP, written here, read as anybody's."""

import json

import pytest
import torch

from loco.errors import InputError, ModelError
from loco.scorers.opening import open_scorer

transformers = pytest.importorskip("transformers")

VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
WORDS = ["a", "smiling", "sad", "face", "dark", "light"]
PROMPTS = ("smile=a smiling face|a sad face", "dark=a dark face|a light face")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    labels = {0: "cat", 1: "dog", 2: "dog"}
    config = transformers.ViTConfig(**VISION, id2label=labels, label2id={"cat": 0, "dog": 2})
    folder = tmp_path_factory.mktemp("vit")
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    vocabulary = {word: k for k, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "eos_token_id": 1,
        "bos_token_id": 1,
        "pad_token_id": 0,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), *((f"▁{word}", -1.0) for word in WORDS)]
    transformers.T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=16).save_pretrained(folder)
    return folder


def test_the_numbers_of_a_classifier_are_the_log_odds_of_its_classes(classifier):
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    scorer = open_scorer(str(classifier))
    network = transformers.ViTForImageClassification.from_pretrained(classifier)
    share = network(pixel_values=images).logits.softmax(
        1
    )  # mean and std of 1/2: the network is shown [-1, 1]
    assert torch.allclose(scorer(images), (share / (1 - share)).log(), atol=1e-4)
    assert scorer.names == ("cat", "dog", "dog (2)")
    assert scorer.words[0] == ("less cat", "more cat")


def test_an_image_that_is_not_square_is_scaled_and_cropped_in_the_middle(classifier):
    tall = torch.zeros(1, 3, 64, 32)
    tall[:, :, 16:48] = torch.rand(3, 32, 32)
    scorer = open_scorer(str(classifier))
    assert torch.allclose(scorer(tall), scorer(tall[:, :, 16:48]), atol=0.05)


def test_the_numbers_of_clip_are_the_log_odds_of_the_first_prompt_over_the_second(clip):
    images = (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    scorer = open_scorer(str(clip), PROMPTS)
    model = transformers.CLIPModel.from_pretrained(clip)
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    tokens = tokenizer(["a smiling face", "a sad face"], return_tensors="pt")
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    shown = ((images + 1) / 2 - mean) / std
    logits = model(pixel_values=shown, **tokens).logits_per_image
    found = scorer(images)
    assert torch.allclose(found[:, 0], logits[:, 0] - logits[:, 1], atol=1e-3)
    assert scorer.names == ("smile", "dark")
    found[:, 0].sum().backward()
    assert images.grad.abs().max() > 0


def test_other_prompts_are_another_scorer(clip):
    one, other = (open_scorer(str(clip), prompts).id for prompts in (PROMPTS, PROMPTS[:1]))
    assert one != other


def test_prompts_must_be_given_to_clip_and_to_no_classifier(clip, classifier):
    with pytest.raises(InputError, match="add --prompts NAME="):
        open_scorer(str(clip))
    with pytest.raises(InputError, match="leave out --prompts"):
        open_scorer(str(classifier), PROMPTS)
    with pytest.raises(InputError, match="the names must differ"):
        open_scorer(str(clip), (PROMPTS[0], PROMPTS[0].replace("smile", "SMILE", 1)))
    with pytest.raises(InputError, match=r"expected NAME=positive\|negative"):
        open_scorer(str(clip), ("smile=a smiling face",))


def test_a_folder_with_pickled_weights_alone_is_refused(classifier, tmp_path):
    network = transformers.ViTForImageClassification.from_pretrained(classifier)
    (tmp_path / "config.json").write_text((classifier / "config.json").read_text())
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be opened"):
        open_scorer(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[1]", '{"architectures": ["UNet"]}', "{}"])
def test_a_folder_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"cannot be read as JSON|expected an image classifier or CLIP"):
        open_scorer(str(tmp_path))
