import fnmatch
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import pytest

from ia2.errors import InputError
from ia2.models.hub import fetch_snapshot, kept_snapshot
from ia2.models.names import TOKENIZERS

NEEDED = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "tokenizer.model": b"pieces",
    "tekken.json": b"{}",
    "qwen.tiktoken": b"ranks",
    "vocab.json": b"{}",
    "vocab.txt": b"words",
    "chat_template.jinja": b"{{ messages }}",
}
OTHERS = {
    "consolidated.safetensors": b"the same weights as Mistral's own programs want them",
    "consolidated.safetensors.index.json": b"{}",
    "pytorch_model.bin": b"pickled",
    "modeling_own.py": b"code",
    "README.md": b"words",
    "fp16/model.safetensors": b"the same weights once more",
    "onnx/config.json": b"{}",
}


class LocalHub:
    """A hub of one model on this machine, which `huggingface_hub` itself asks."""

    def __init__(self):
        self.files, self.commit = NEEDED | OTHERS, "a" * 40
        self.refuse = lambda path: None  # the status and the code of an error that a path gets
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, headers, body = hub.answer(self.path.split("?")[0])
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path):
        if refused := self.refuse(path):
            return refused[0], {"X-Error-Code": refused[1]}, b""
        if path.startswith("/api/models/org/model/tree/"):
            return 200, {}, json.dumps([self.entry(name) for name in self.files]).encode()
        if path in ("/api/models/org/model", "/api/models/org/model/revision/main"):
            return 200, {}, json.dumps({"id": "org/model", "sha": self.commit}).encode()
        name = path.removeprefix(f"/org/model/resolve/{self.commit}/")
        if name in self.files:
            return 200, {"ETag": self.entry(name)["oid"], "X-Repo-Commit": self.commit}, self.files[name]
        return 401, {"X-Error-Code": "RepoNotFound"}, b""

    def entry(self, name):
        body = self.files[name]
        return {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def local_hub(tmp_path, monkeypatch):
    local = LocalHub()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", local.address)
    files = local.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", local.address)
    yield local
    huggingface_hub.close_session()
    local.stop()


def held(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_all_that_loading_reads_is_fetched_and_nothing_else(local_hub):
    folder, commit = fetch_snapshot("org/model")
    assert commit == local_hub.commit
    assert held(folder) == set(NEEDED)
    # every file that counts as a tokenizer is among them
    assert all(fnmatch.filter(NEEDED, pattern) for pattern in TOKENIZERS)


def test_a_hub_that_cannot_be_reached_is_one_sentence(local_hub):
    local_hub.stop()
    with pytest.raises(InputError, match=r"^org/model: the model hub can't be reached \(ConnectError\).*`ia2 models`"):
        fetch_snapshot("org/model")
    assert kept_snapshot("org/model") is None


def test_an_id_that_the_hub_does_not_know_is_said(local_hub):
    with pytest.raises(InputError, match="^org/other: the hub knows no such model"):
        fetch_snapshot("org/other")
