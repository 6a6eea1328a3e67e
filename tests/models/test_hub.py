import errno
import fnmatch
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import pytest

from ia2.errors import InputError
from ia2.models.hub import cached_snapshot, fetch_snapshot
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


HANGS_UP = (0, "")


class LocalHub:
    """A hub of one model on this machine, which `huggingface_hub` itself asks."""

    def __init__(self):
        self.files, self.commit = NEEDED | OTHERS, "a" * 40
        self.refuse = lambda path: None  # the status and the code of an error that a path gets
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, headers, body = hub.answer(self.path.split("?")[0])
                if not status:
                    return
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
    snapshot = fetch_snapshot("org/model")
    assert (snapshot.revision, snapshot.notes) == (local_hub.commit, ())
    assert held(snapshot.folder) == set(NEEDED)
    # every file that counts as a tokenizer is among them
    assert all(fnmatch.filter(NEEDED, pattern) for pattern in TOKENIZERS)
    assert cached_snapshot("org/model") == snapshot.folder


def test_where_the_hub_cannot_be_reached_the_commit_that_was_fetched_is_used_and_it_is_said(local_hub):
    fetched = fetch_snapshot("org/model")
    local_hub.stop()
    again = fetch_snapshot("org/model")
    assert (again.folder, again.revision) == (fetched.folder, fetched.revision)
    (note,) = again.notes
    reached = "The model hub can't be reached (ConnectError)"
    assert note == f"{reached}: using the copy of org/model downloaded before (commit {'a' * 40})."


def test_offline_is_no_fault(local_hub, monkeypatch):
    fetched = fetch_snapshot("org/model")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch_snapshot("org/model").folder == fetched.folder


def test_a_hub_that_cannot_be_reached_is_one_sentence(local_hub):
    local_hub.stop()
    with pytest.raises(InputError, match=r"^org/model: the model hub can't be reached \(ConnectError\).*`ia2 models`"):
        fetch_snapshot("org/model")
    assert cached_snapshot("org/model") is None


def test_a_snapshot_that_was_cut_short_is_none(local_hub):
    folder = fetch_snapshot("org/model").folder
    (folder / "model.safetensors").unlink()
    local_hub.stop()
    assert cached_snapshot("org/model") is None
    with pytest.raises(InputError, match="its local cache doesn't hold all of the model"):
        fetch_snapshot("org/model")


FILE, INFO = "/resolve/", "/api/models/org/model"


@pytest.mark.parametrize(
    ("refused", "answer", "said"),
    [
        (
            FILE,
            (403, "GatedRepo"),
            "the hub provides this model only to users who have accepted its terms and logged in",
        ),
        (FILE, (410, ""), "the model hub answered with an error (410 Gone)"),
        (INFO, (401, "RepoNotFound"), "there is no such model on the hub, and no folder of that name"),
        (INFO, (503, ""), "the model hub answered with an error (503 Service Unavailable)"),
    ],
)
def test_what_the_hub_refuses_is_said_and_another_commit_is_never_used_instead(local_hub, refused, answer, said):
    fetch_snapshot("org/model")
    local_hub.commit = "b" * 40
    local_hub.files["config.json"] = b'{"new": true}'
    local_hub.refuse = lambda path: answer if refused in path else None
    with pytest.raises(InputError) as raised:
        fetch_snapshot("org/model")
    assert str(raised.value).startswith(f"org/model: {said}")


def test_a_download_that_is_interrupted_is_said(local_hub, monkeypatch):
    fetch_snapshot("org/model")
    local_hub.commit = "b" * 40
    local_hub.files["config.json"] = b'{"new": true}'
    local_hub.refuse = lambda path: HANGS_UP if FILE in path else None
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)  # between its tries
    with pytest.raises(InputError, match=r"^org/model: fetching it was interrupted \(RemoteProtocolError\)"):
        fetch_snapshot("org/model")


def test_a_hub_that_fails_between_two_answers_makes_no_other_commit_of_it(local_hub):
    fetch_snapshot("org/model")
    local_hub.commit = "b" * 40
    answers = iter([None])
    local_hub.refuse = lambda path: next(answers, (500, ""))
    with pytest.raises(InputError, match="^org/model: the hub's answers changed while the model was fetched"):
        fetch_snapshot("org/model")


def test_a_full_disk_is_no_silent_return_to_another_commit(local_hub, monkeypatch):
    fetch_snapshot("org/model")
    full = OSError(errno.ENOSPC, "No space left on device")

    def write(*_arguments, **_keywords):
        raise full

    local_hub.commit = "b" * 40
    local_hub.files["config.json"] = b'{"new": true}'
    monkeypatch.setattr(huggingface_hub.file_download, "_download_to_tmp_and_move", write)
    with pytest.raises(OSError, match="No space left") as raised:
        fetch_snapshot("org/model")
    assert raised.value is full
