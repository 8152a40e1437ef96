"""The hub, by a small server that speaks as it does: what is fetched, and what is said of what is not to be had."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from loco.errors import ModelError
from loco.models.card import read_card
from loco.models.hub import needed
from loco.models.source import model_folder
from tests.families import QWEN3_TEMPLATE, build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories by name: folders, or a status that is answered instead."""

    def __init__(self):
        self.repositories, self.sent, self.tokens = {}, [], []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, *, body):
                path = unquote(self.path.partition("?")[0])
                hub.tokens.append(self.headers.get("Authorization"))
                parts = path.strip("/").split("/")
                name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
                found = hub.repositories.get(name, 404)
                if isinstance(found, int):
                    code = {403: "GatedRepo", 404: "RepoNotFound"}[found]
                    self.reply(found, b"{}", {"X-Error-Code": code})
                    return
                files = sorted(one for one in found.rglob("*") if one.is_file())
                names = [str(one.relative_to(found)) for one in files]
                if parts[0] == "api" and "tree" in parts:
                    listed = [
                        {"type": "file", "path": one, "oid": "0" * 40, "size": (found / one).stat().st_size}
                        for one in names
                    ]
                    self.reply(200, json.dumps(listed).encode())
                elif parts[0] == "api":
                    told = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": one} for one in names]}
                    self.reply(200, json.dumps(told).encode())
                else:
                    data = (found / "/".join(parts[4:])).read_bytes()
                    if body:
                        hub.sent.append("/".join(parts[4:]))
                    etag = hashlib.sha256(data).hexdigest()
                    self.reply(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, body)

            def reply(self, status, data, headers=(), body=True):
                self.send_response(status)
                for key, value in dict(headers).items():
                    self.send_header(key, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body and self.command == "GET":
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.hf_api import HfApi

    found = Hub()
    address = f"http://127.0.0.1:{found.server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address, raising=False)
    original = HfApi.__init__

    def made(self, endpoint=None, **options):
        original(self, endpoint=endpoint or address, **options)

    monkeypatch.setattr(HfApi, "__init__", made)
    monkeypatch.setenv("HF_TOKEN", "a-token")
    yield found
    found.server.shutdown()
    found.server.server_close()


def published(folder):
    """A model as it lies on the hub: the same weights in several forms, and parts that are not needed."""
    for place in ("unet", "vae", "text_encoder"):
        [path] = (folder / place).glob("*.safetensors")
        for other in (".fp16.safetensors", ".non_ema.safetensors"):
            path.with_name(path.stem + other).write_bytes(b"other weights")
        path.with_name("flax_model.msgpack").write_bytes(b"other weights")
        path.with_name("pytorch_model.bin").write_bytes(b"other weights")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"not needed")
    (folder / "single.safetensors").write_bytes(b"all of it once more")
    (folder / "README.md").write_text("hello")
    return folder


def test_only_what_is_needed_is_fetched_and_once(hub, tmp_path):
    folder = published(build("stable_diffusion", tmp_path / "model"))
    hub.repositories["owner/model"] = folder
    found = model_folder("hub:owner/model")
    assert read_card(found).id == read_card(folder).id
    weights = sorted(name for name in hub.sent if not name.endswith((".json", ".txt")))
    assert weights == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    count = len(hub.sent)
    assert model_folder("hub:owner/model") == found
    assert len(hub.sent) == count
    assert "Bearer a-token" in hub.tokens


def test_what_an_encoder_s_conversations_look_like_is_fetched_with_its_words(hub, tmp_path):
    folder = build("flux2", tmp_path / "model")
    hub.repositories["owner/model"] = folder
    found = model_folder("hub:owner/model")
    assert read_card(found).id == read_card(folder).id
    assert (found / "tokenizer" / "chat_template.jinja").read_text() == QWEN3_TEMPLATE


@pytest.mark.slow  # the hub's client tries for a while
def test_what_is_in_the_cache_is_used_without_a_connection(hub, tmp_path):
    folder = build("unet2d", tmp_path / "model")
    hub.repositories["owner/pixels"] = folder
    before = model_folder("hub:owner/pixels")
    hub.server.shutdown()
    hub.server.server_close()
    assert model_folder("hub:owner/pixels") == before
    assert read_card(before).id == read_card(folder).id


def test_a_model_of_an_unknown_kind_is_refused_before_its_weights_are_fetched(hub, tmp_path):
    folder = build("unet2d", tmp_path / "model")
    (folder / "model_index.json").write_text('{"_class_name": "AudioLDMPipeline"}')
    hub.repositories["owner/audio"] = folder
    with pytest.raises(ModelError, match="found 'AudioLDMPipeline'"):
        model_folder("hub:owner/audio")
    assert not [name for name in hub.sent if name.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (403, "is gated: accept its conditions on its page at the hub, then name your token in HF_TOKEN"),
        (404, "there is none of that name, or it is private"),
    ],
)
def test_what_is_not_to_be_had_is_said_with_what_to_do(hub, status, found):
    hub.repositories["owner/secret"] = status
    with pytest.raises(ModelError) as caught:
        model_folder("hub:owner/secret")
    assert found in str(caught.value)
    assert "a-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["model.fp16.safetensors", "pytorch_model.bin"], ["model.fp16.safetensors"]),
        (
            [
                "diffusion_pytorch_model.safetensors.index.json",
                "diffusion_pytorch_model-00001-of-00002.safetensors",
                "diffusion_pytorch_model-00002-of-00002.safetensors",
                "diffusion_pytorch_model.fp16.safetensors",
            ],
            [
                "diffusion_pytorch_model-00001-of-00002.safetensors",
                "diffusion_pytorch_model-00002-of-00002.safetensors",
            ],
        ),
        (["pytorch_model.bin", "flax_model.msgpack", "tf_model.h5"], ["pytorch_model.bin"]),
        (
            ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"],
            ["pytorch_model-00001-of-00001.bin"],
        ),
        (["config.json"], []),
    ],
)
def test_one_form_of_the_weights_is_taken(files, expected):
    assert needed(files) == expected
