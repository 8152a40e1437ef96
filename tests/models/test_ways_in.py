"""What people have that is no folder of safetensors: pickled folders, single files, LoRA, textual inversion."""

import io
import json
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows.register import model_source
from loco.errors import InputError, ModelError
from loco.models.card import read_card
from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from registry.home import Home
from tests.families import build
from tests.models.original import write_single, write_single_xl
from tests.models.test_layout import sharded

T = 0.5


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        name: build(name, root / name)
        for name in ("unet2d", "stable_diffusion", "sdxl", "sdxl-widths", "flux-dev", *ADAPTED)
    }


@pytest.fixture
def copy(saved, tmp_path):
    return lambda name: shutil.copytree(saved[name], tmp_path / name)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def opened(home, source, **options):
    """The model as `loco model add` would register it."""
    return open_folder(model_folder(model_source(home, str(source), **options)))


def answer(denoiser):
    x_t = torch.randn(1, *denoiser.shape, generator=torch.Generator().manual_seed(0))
    return denoiser.posterior_mean(x_t, T)


def refused(home, source, **options):
    with pytest.raises((ModelError, InputError)) as caught:
        opened(home, source, **options)
    assert not [path for path in home.root.glob("converted/*") if path.is_dir()]
    return str(caught.value)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


# Pickled folders


def pickled(folder, shards=False):
    """The weights as they were saved before safetensors."""
    for path in [*folder.glob("*/*.safetensors")]:
        name = (
            "diffusion_pytorch_model"
            if path.parent.name in ("unet", "transformer", "vae")
            else "pytorch_model"
        )
        tensors = load_file(path)
        path.unlink()
        if not shards or path.parent.name != "unet":
            torch.save(tensors, path.parent / f"{name}.bin")
            continue
        keys, table = sorted(tensors), {}
        for i, part in enumerate((keys[: len(keys) // 2], keys[len(keys) // 2 :]), 1):
            file = f"{name}-0000{i}-of-00002.bin"
            torch.save({key: tensors[key] for key in part}, path.parent / file)
            table |= dict.fromkeys(part, file)
        (path.parent / f"{name}.bin.index.json").write_text(json.dumps({"weight_map": table}))
    return folder


@pytest.mark.parametrize(
    ("name", "shards"), [("unet2d", False), ("stable_diffusion", True), ("flux2", False)]
)
def test_a_pickled_folder_is_the_model_that_it_was_before(home, saved, copy, name, shards):
    card, denoiser = opened(home, pickled(copy(name), shards))
    whole = open_folder(saved[name])[1]
    torch.testing.assert_close(answer(denoiser), answer(whole), rtol=0, atol=0)
    assert home.converted in card.folder.parents
    assert card.extra["converted_from"] == name


def test_it_is_converted_once(home, copy):
    folder, said = pickled(copy("stable_diffusion")), []
    first = model_source(home, str(folder), say=said.append)
    assert model_source(home, str(folder), say=said.append) == first
    assert said == ["converting unet, vae, text_encoder to safetensors, once"]


def test_a_bomb_in_a_pickled_folder_does_not_go_off(home, copy, tmp_path):
    folder, mark = pickled(copy("stable_diffusion")), tmp_path / "ran"
    place = folder / "text_encoder" / "pytorch_model.bin"
    torch.save({"weight": torch.zeros(1), "bomb": Bomb(mark)}, place)
    assert "holds more than tensors, which can run code when opened" in refused(home, folder)
    place.write_bytes(pickle.dumps(Bomb(mark)))
    assert "holds more than tensors" in refused(home, folder)
    assert not mark.exists()


def hostile_zip(path, **changes):
    """A file of torch with one more member that it should not have."""
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(changes.pop("name", "archive/data/99"))
        for key, value in changes.items():
            setattr(info, key, value)
        archive.writestr(info, "/etc/passwd" * 20, compress_type=changes.get("compress_type"))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: hostile_zip(path, external_attr=0o120777 << 16), "an archive with links"),
        (lambda path: hostile_zip(path, name="../../evil"), "paths out of it"),
        (lambda path: hostile_zip(path, compress_type=zipfile.ZIP_DEFLATED), "packed members"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: torch.save({"w": torch.zeros(1).expand(10**9)}, path), "more than the file holds"),
        (lambda path: torch.save([torch.zeros(1)], path), "expected a table of tensors"),
        (lambda path: torch.save({"conv_in.weight": torch.zeros(3)}, path), "do not fit|cannot be loaded"),
    ],
)
def test_hostile_weights_are_refused_with_the_reason(home, copy, damage, found):
    folder = pickled(copy("unet2d"))
    damage(folder / "unet" / "diffusion_pytorch_model.bin")
    try:
        said = refused(home, folder)
    except (
        AssertionError
    ):  # converted, and of no use: it is refused when it is opened, at the latest by `add`
        with pytest.raises(ModelError) as caught:
            opened(home, folder)
        said = str(caught.value)
    assert any(one in said for one in found.split("|")), said


def test_a_tar_archive_of_torch_s_first_format_is_not_unpacked(home, copy, tmp_path):
    """Its reader would follow a link out of the folder that it unpacks to."""
    folder = pickled(copy("unet2d"))
    path = folder / "unet" / "diffusion_pytorch_model.bin"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "elsewhere")
        archive.addfile(link)
        data = b"evil"
        info = tarfile.TarInfo("storages/x")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    assert "found a tar archive, which is not unpacked" in refused(home, folder)
    assert not (tmp_path / "elsewhere").exists()


def test_a_shard_that_is_missing_or_twice_is_said(home, copy):
    folder = pickled(copy("stable_diffusion"), shards=True)
    second = folder / "unet" / "diffusion_pytorch_model-00002-of-00002.bin"
    first = folder / "unet" / "diffusion_pytorch_model-00001-of-00002.bin"
    data = second.read_bytes()
    shutil.copyfile(first, second)
    assert "is in another shard as well" in refused(home, folder)
    second.write_bytes(data)
    second.unlink()
    assert "diffusion_pytorch_model-00002-of-00002.bin" in refused(home, folder)


# Single files


def network_of(folder):
    return json.loads((folder / "unet" / "config.json").read_text())


def like(folder, place):
    """Its configurations and vocabulary alone."""
    return shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_single_file_in_the_original_layout_is_the_model_that_the_folder_is(home, saved, tmp_path, ending):
    folder = saved["stable_diffusion"]
    path = write_single(folder, network_of(folder), tmp_path / "model.safetensors")
    if ending == "ckpt":
        torch.save({"state_dict": load_file(path), "epoch": 3}, tmp_path / "model.ckpt")
    sample = like(folder, tmp_path / "like")
    card, denoiser = opened(home, tmp_path / f"model.{ending}", like=str(sample))
    torch.testing.assert_close(answer(denoiser), answer(open_folder(folder)[1]), rtol=1e-5, atol=1e-6)
    prompted = open_folder(folder)[1].told("a red cat")
    torch.testing.assert_close(answer(denoiser.told("a red cat")), answer(prompted), rtol=1e-5, atol=1e-6)
    assert card.extra["converted_from"] == f"model.{ending}"


@pytest.mark.parametrize("half", [False, True])
def test_a_single_file_of_xl_has_both_its_encoders(home, saved, tmp_path, half):
    folder = saved["sdxl-widths"]
    path = write_single_xl(folder, network_of(folder), tmp_path / "xl.safetensors")
    if half:
        save_file({key: tensor.half() for key, tensor in load_file(path).items()}, path)
    card, denoiser = opened(home, path, like=str(like(folder, tmp_path / "like")))
    close = {"rtol": 2e-2, "atol": 2e-3} if half else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(answer(denoiser), answer(open_folder(folder)[1]), **close)
    prompted = open_folder(folder)[1].told("a red cat")  # both encoders, and the second's pooled answer
    torch.testing.assert_close(answer(denoiser.told("a red cat")), answer(prompted), **close)
    assert card.dtypes == (("F16",) if half else ("F32",))


def test_half_precision_stays_half_on_disk(home, saved, tmp_path):
    folder = saved["stable_diffusion"]
    path = write_single(folder, network_of(folder), tmp_path / "model.safetensors")
    save_file({key: tensor.half() for key, tensor in load_file(path).items()}, path)
    card, _ = opened(home, path, like=str(like(folder, tmp_path / "like")))
    assert card.dtypes == ("F16",)


def test_hostile_and_foreign_single_files_are_refused_with_the_reason(home, saved, tmp_path):
    folder, mark = saved["stable_diffusion"], tmp_path / "ran"
    sample = str(like(folder, tmp_path / "like"))
    path = write_single(folder, network_of(folder), tmp_path / "model.safetensors")
    whole, tensors = path.read_bytes(), {key: one.clone() for key, one in load_file(path).items()}

    def said(source=path):
        return refused(home, source, like=sample)

    path.write_bytes(whole[:-100])
    assert "expected a whole safetensors file" in said()
    torch.save({"state_dict": Bomb(mark)}, tmp_path / "bomb.ckpt")
    assert "holds more than tensors" in said(tmp_path / "bomb.ckpt")
    path.write_bytes((tmp_path / "bomb.ckpt").read_bytes())
    assert "found a pickle, which can run code" in said()
    first = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({key: one for key, one in tensors.items() if key != first}, path)
    assert "its weights are not those of like" in said()
    last = "first_stage_model.decoder.conv_out.bias"
    save_file({key: one for key, one in tensors.items() if key != last}, path)
    found = said()
    assert "are not in it" in found
    assert "cut short, or of another kind" in found
    save_file(tensors | {first: torch.zeros(8, 4, 5, 5)}, path)
    assert "its weights are not those of like, a StableDiffusionPipeline" in said()
    (tmp_path / "model.zip").write_bytes(b"PK")
    assert "expected a folder, or a single file that ends in" in said(tmp_path / "model.zip")
    assert not mark.exists()


def test_a_single_file_without_a_pipeline_of_its_kind_says_what_it_wants(home, saved, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = saved["stable_diffusion"]
    path = write_single(folder, network_of(folder), tmp_path / "model.safetensors")
    assert "name a folder of a pipeline of its kind: --like FOLDER" in refused(home, path)
    save_file({"input_blocks.0.0.weight": torch.zeros(1)}, path)
    assert f"`loco model convert {path} OUT` takes what it leaves out" in refused(home, path)


# LoRA


def weights_of(denoiser):
    return {name: one.clone() for name, one in denoiser.network.state_dict().items()}


TARGET = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def factors(rank, rows, columns):
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)


def spelt(kind, up, down, alpha):
    """One adapted weight, as the usual trainers name it."""
    flat = TARGET.replace(".", "_")
    return {
        "kohya": {
            f"lora_unet_{flat}.lora_up.weight": up,
            f"lora_unet_{flat}.lora_down.weight": down,
            f"lora_unet_{flat}.alpha": torch.tensor(alpha or 1.0),
        },
        "peft": {f"unet.{TARGET}.lora_B.weight": up, f"unet.{TARGET}.lora_A.weight": down},
        "diffusers": {f"unet.{TARGET}.lora.up.weight": up, f"unet.{TARGET}.lora.down.weight": down},
        "processors": {
            f"unet.{TARGET.removesuffix('.to_q')}.processor.to_q_lora.up.weight": up,
            f"unet.{TARGET.removesuffix('.to_q')}.processor.to_q_lora.down.weight": down,
        },
    }[kind]


@pytest.mark.parametrize("kind", ["kohya", "peft", "diffusers", "processors"])
def test_a_lora_is_scale_alpha_over_rank_up_down_whoever_trained_it(home, saved, tmp_path, kind):
    up, down = factors(2, 16, 16)
    save_file(spelt(kind, up, down, 1.0), tmp_path / "style.safetensors")
    card, denoiser = opened(home, saved["stable_diffusion"], loras=[f"{tmp_path / 'style.safetensors'}:0.5"])
    before = weights_of(open_folder(saved["stable_diffusion"])[1])
    after = weights_of(denoiser)
    name = f"{TARGET}.weight"
    alpha = 1.0 if kind == "kohya" else 2.0  # a file without says nothing: alpha is the rank
    torch.testing.assert_close(after[name], before[name] + 0.5 * alpha / 2 * up @ down)
    assert all(torch.equal(after[key], before[key]) for key in before if key != name)
    assert card.id != read_card(saved["stable_diffusion"]).id


def test_a_lora_of_convolutions_and_of_the_text_encoder(home, saved, tmp_path):
    up, down = torch.randn(8, 2, 1, 1), torch.randn(2, 8, 3, 3)
    conv = "down_blocks.0.resnets.0.conv1"
    spoken = "text_model.encoder.layers.0.self_attn.q_proj"
    side = factors(2, 16, 16)
    tensors = {
        f"lora_unet_{conv.replace('.', '_')}.lora_up.weight": up,
        f"lora_unet_{conv.replace('.', '_')}.lora_down.weight": down,
        f"lora_te_{spoken.replace('.', '_')}.lora_up.weight": side[0],
        f"lora_te_{spoken.replace('.', '_')}.lora_down.weight": side[1],
    }
    save_file(tensors, tmp_path / "style.safetensors")
    _, denoiser = opened(home, saved["stable_diffusion"], loras=[str(tmp_path / "style.safetensors")])
    plain = open_folder(saved["stable_diffusion"])[1]
    name = f"{conv}.weight"
    change = torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down)
    torch.testing.assert_close(weights_of(denoiser)[name], weights_of(plain)[name] + change)
    assert not torch.allclose(
        denoiser.told("a cat").condition["words"], plain.told("a cat").condition["words"]
    )


ADAPTED = {
    "lumina2": "layers.0.attn.to_q",
    "sana": "transformer_blocks.1.attn2.to_out.0",
    "auraflow": "joint_transformer_blocks.0.attn.add_k_proj",
    "kolors": "mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
    "qwenimage": "transformer_blocks.0.img_mlp.net.0.proj",
    "flux2": "single_transformer_blocks.0.attn.to_qkv_mlp_proj",
}


@pytest.mark.parametrize(("name", "target"), ADAPTED.items())
def test_a_lora_of_other_networks(home, saved, tmp_path, name, target):
    """As diffusers' own trainers save them: the network's own names."""
    plain = open_folder(saved[name])[1]
    before = weights_of(plain)
    up, down = factors(2, *before[f"{target}.weight"].shape)
    part = "unet" if name == "kolors" else "transformer"
    tensors = {f"{part}.{target}.lora_B.weight": up, f"{part}.{target}.lora_A.weight": down}
    save_file(tensors, tmp_path / "style.safetensors")
    _, denoiser = opened(home, saved[name], loras=[f"{tmp_path / 'style.safetensors'}:0.5"])
    after = weights_of(denoiser)
    torch.testing.assert_close(after[f"{target}.weight"], before[f"{target}.weight"] + 0.5 * up @ down)
    assert all(torch.equal(after[key], before[key]) for key in before if key != f"{target}.weight")


def test_names_of_the_original_program_are_translated(home, saved, tmp_path):
    """Flux's adapters by kohya's names: one factor for queries, keys and values together."""
    up, down = factors(2, 96, 32)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {
        f"{stem}.lora_up.weight": up,
        f"{stem}.lora_down.weight": down,
        f"{stem}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "style.safetensors")
    _, denoiser = opened(home, saved["flux-dev"], loras=[str(tmp_path / "style.safetensors")])
    before, after = weights_of(open_folder(saved["flux-dev"])[1]), weights_of(denoiser)
    for k, part in enumerate(("to_q", "to_k", "to_v")):
        name = f"transformer_blocks.0.attn.{part}.weight"
        expected = before[name] + (up @ down)[32 * k : 32 * (k + 1)]
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-5)


def test_the_id_is_of_base_files_and_scales(home, saved, tmp_path):
    file = tmp_path / "style.safetensors"
    save_file(spelt("peft", *factors(2, 16, 16), None), file)
    other = tmp_path / "other.safetensors"
    save_file(spelt("peft", *factors(3, 16, 16), None), other)

    def name(*loras, base="stable_diffusion"):
        return read_card(Path(model_source(home, str(saved[base]), loras=loras))).id

    ids = [
        name(str(file)),
        name(f"{file}:0.5"),
        name(str(other)),
        name(str(file), str(other)),
        name(str(other), str(file)),
        name(),
    ]
    assert len(set(ids)) == len(ids)
    assert name(f"{file}:1") == ids[0]
    moved = shutil.copyfile(file, tmp_path / "copy.safetensors")
    assert name(str(moved)) == ids[0]


def test_a_lora_that_is_none_or_of_another_model_is_refused_with_the_reason(home, saved, tmp_path):
    file, mark = tmp_path / "style.safetensors", tmp_path / "ran"
    base = saved["stable_diffusion"]

    def said(tensors):
        save_file(tensors, file)
        with pytest.raises(ModelError) as caught:
            opened(home, base, loras=[str(file)])
        return str(caught.value)

    up, down = factors(2, 16, 16)
    assert "the model's weight is [16, 16]; it is of another model" in said(spelt("peft", up[:8], down, None))
    assert "the model's weight is [16, 16]" in said(spelt("peft", up, down[:1], None))
    assert "lacks one of its two factors" in said({f"unet.{TARGET}.lora_B.weight": up})
    assert "which UNet2DConditionModel does not have" in said(
        {"unet.nowhere.lora_B.weight": up, "unet.nowhere.lora_A.weight": down}
    )
    assert "expected a LoRA, with factors up and down" in said({f"unet.{TARGET}.hada_w1_a": up})
    te = {"lora_te2_x.lora_up.weight": up.clone(), "lora_te2_x.lora_down.weight": down.clone()}
    assert "it changes text_encoder_2, which" in said(spelt("peft", up, down, None) | te)
    torch.save({"bomb": Bomb(mark)}, tmp_path / "style.pt")
    with pytest.raises(ModelError, match="holds more than tensors"):
        opened(home, base, loras=[str(tmp_path / "style.pt")])
    assert not mark.exists()
    with pytest.raises(InputError, match="no such file"):
        opened(home, base, loras=[str(tmp_path / "none.safetensors")])
    with pytest.raises(InputError, match="expected a scale from -100 to 100"):
        opened(home, base, loras=[f"{file}:1000"])


def test_an_adapter_that_was_taken_away_is_named(home, saved, tmp_path):
    file = tmp_path / "style.safetensors"
    save_file(spelt("peft", *factors(2, 16, 16), None), file)
    folder = Path(model_source(home, str(saved["stable_diffusion"]), loras=[str(file)]))
    file.unlink()
    with pytest.raises(ModelError, match=f"its adapter {file} is not there; put it back"):
        read_card(folder)


def test_verify_finds_an_adapted_model_s_file_that_was_changed(home, saved, tmp_path):
    from registry.registry import Registry

    file = tmp_path / "style.safetensors"
    save_file(spelt("peft", *factors(2, 16, 16), None), file)
    path = Path(model_source(home, str(saved["stable_diffusion"]), loras=[str(file)])) / "adapted.json"
    assert Registry(home).verify() == []
    path.write_text(path.read_text().replace('"scale": 1.0', '"scale": 2.0'))
    [problem] = Registry(home).verify()
    assert (problem.subject, problem.remedy) == (str(path), "add its model again")
    assert "not what its checksum says" in problem.trouble


# Textual inversion


@pytest.mark.parametrize("kind", ["diffusers", "webui", "plain"])
def test_a_word_of_its_own_is_told_by_its_vectors(home, saved, tmp_path, kind):
    """The encoder sees the vectors where the word stands; other prompts are told what they were."""
    vectors = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "toy.pt"
    content = {
        "diffusers": {"<toy>": vectors},
        "webui": {"string_to_param": {"*": vectors}, "name": "<toy>", "step": 3},
        "plain": {"emb_params": vectors},
    }[kind]
    torch.save(content, file)
    word = {"plain": "toy"}.get(kind, "<toy>")
    card, denoiser = opened(home, saved["stable_diffusion"], embeddings=[str(file)])
    plain = open_folder(saved["stable_diffusion"])[1]
    assert card.id != plain.card.id
    torch.testing.assert_close(
        denoiser.told("a red cat").condition["words"], plain.told("a red cat").condition["words"]
    )
    seen = []
    encoder = denoiser.teller.embed.__closure__
    model = next(cell.cell_contents for cell in encoder if hasattr(cell.cell_contents, "tokenizer")).model
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(output))
    denoiser.told(f"a {word}")
    rows = seen[0][0]
    for vector in vectors:
        assert float((rows - vector).abs().sum(1).min()) == 0


def test_words_that_fit_no_encoder_or_are_known_are_refused(home, saved, tmp_path):
    base = saved["stable_diffusion"]

    def said(content, **options):
        torch.save(content, tmp_path / "toy.pt")
        with pytest.raises(ModelError) as caught:
            opened(home, base, embeddings=[str(tmp_path / "toy.pt")], **options)
        return str(caught.value)

    assert "its vectors fit no text encoder" in said({"<toy>": torch.randn(2, 24)})
    assert "knows the word 'a</w>' already" in said({"a</w>": torch.randn(1, 16)})
    assert "expected the vectors of one word" in said({"<a>": torch.randn(1, 16), "<b>": torch.randn(1, 16)})
    assert "expected up to 75 vectors" in said({"<toy>": torch.randn(76, 16)})


# Another size


@pytest.mark.parametrize(("name", "size"), [("unet2d", "12"), ("stable_diffusion", "12x20"), ("sdxl", "24")])
def test_a_network_of_convolutions_is_another_model_at_another_size(home, saved, name, size):
    card, denoiser = opened(home, saved[name], size=size)
    own, whole = open_folder(saved[name])
    height, width = (int(one) for one in (size.split("x") * 2)[:2])
    assert card.image_shape == (3, height, width)
    assert card.id != own.id
    assert card.adapters.says() == f"{saved[name]}, at {height} x {width}"
    x_t = torch.randn(2, *card.shape, generator=torch.Generator().manual_seed(1))
    found = denoiser.posterior_mean(x_t, T)
    assert found.shape == x_t.shape
    if name != "sdxl":  # which is told the size of its image
        torch.testing.assert_close(found, whole.posterior_mean(x_t, T))
        return
    asked = []
    denoiser.network.register_forward_hook(
        lambda _network, _inputs, options, _answer: asked.append(options["added_cond_kwargs"]["time_ids"]),
        with_kwargs=True,
    )
    denoiser.posterior_mean(x_t[:1], T)
    assert asked[0].tolist() == [[24, 24, 0, 0, 24, 24]]


@pytest.mark.parametrize("name", ["flux-dev", "lumina2", "sana"])
def test_a_transformer_of_computed_positions_is_taken_at_another_size(home, saved, name):
    card, denoiser = opened(home, saved[name], size="24")
    assert card.image_shape == (3, 24, 24)
    assert bool(answer(denoiser).isfinite().all())


def test_a_size_that_a_network_cannot_have_is_refused_with_the_reason(home, saved, tmp_path):
    assert "found '0'" in refused(home, saved["unet2d"], size="0")
    assert "found '1x2x3'" in refused(home, saved["unet2d"], size="1x2x3")
    assert "multiples of 2, the pixels of a latent, found 13 x 13" in refused(
        home, saved["stable_diffusion"], size="13"
    )
    learnt = build("dit", tmp_path / "dit")
    assert "has learnt the positions of images of" in refused(home, learnt, size="8")


# From model add to edited images


def fp16_in_shards(folder):
    """As large models lie on the hub: half precision, in shards, named so."""
    for path in [*folder.glob("*/*.safetensors")]:
        halves = {key: tensor.half() for key, tensor in load_file(path).items()}
        path.unlink()
        save_file(halves, path, metadata={"format": "pt"})
    sharded(folder / "unet")
    return folder


@pytest.mark.parametrize("way", ["lora", "single file", "pickled folder", "fp16 in shards", "another size"])
def test_each_way_goes_from_model_add_to_edited_images(home, saved, copy, tmp_path, way):
    from click.testing import CliRunner

    from cli.main import root
    from loco.discover import discover
    from loco.edit import edit
    from loco.inversion import Grid, invert
    from loco.recipes import DiscoverRecipe, EditRecipe
    from loco.rois.roi import from_box
    from registry.registry import Registry

    folder = saved["stable_diffusion"]
    words = [str(folder)]
    if way == "lora":
        save_file(spelt("kohya", *factors(2, 16, 16), 1.0), tmp_path / "style.safetensors")
        words = [str(folder), "--lora", f"{tmp_path / 'style.safetensors'}:0.2"]
    elif way == "single file":
        write_single(folder, network_of(folder), tmp_path / "model.safetensors")
        words = [str(tmp_path / "model.safetensors"), "--like", str(like(folder, tmp_path / "like"))]
    elif way == "another size":
        words = [str(folder), "--size", "12"]
    elif way == "pickled folder":
        words = [str(pickled(copy("stable_diffusion")))]
    else:
        words = [str(fp16_in_shards(copy("stable_diffusion")))]
    outcome = CliRunner().invoke(root, ["--home", str(home.root), "model", "add", "mine", *words])
    assert outcome.exit_code == 0, outcome.output
    assert "one forward pass on zeros took" in outcome.output
    record = Registry(home).model("mine")
    card, denoiser = open_folder(model_folder(record.source))
    assert card.id == record.id
    images = torch.rand(1, *card.image_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    recipe = DiscoverRecipe(t=T, steps=4, rank=1, null_rank=1, tol=0.2, max_rounds=3)
    path = invert(denoiser, images, recipe.t, recipe.steps, None, Grid.of(recipe).order)
    basis = discover(denoiser, path, [from_box("left", (0, 0, 0.5, 1), card.image_shape[1:])], recipe)
    assert basis.model == record.id
    told = EditRecipe(t=T, steps=4, directions=((basis.directions[0].id, 3.0),), min_effect=0.0)
    edited = edit(denoiser, images, told, basis.vectors, path=path)
    assert edited.shape == images.shape
    assert bool(edited.isfinite().all())
    assert float((edited - images).abs().max()) > 0
