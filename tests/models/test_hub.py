import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from ia2.errors import InputError
from ia2.models import hub
from ia2.models.hub import fetch_snapshot, kept_snapshot


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    def unreachable(*_arguments, **_keywords):
        raise OSError("Name or service not known")

    def nothing(*_arguments, **_keywords):
        raise LocalEntryNotFoundError("not there")

    monkeypatch.setattr(hub, "model_info", unreachable)
    monkeypatch.setattr(hub, "snapshot_download", nothing)
    with pytest.raises(InputError, match=r"^org/model: the model hub can't be reached \(OSError\).*`ia2 models`"):
        fetch_snapshot("org/model")
    assert kept_snapshot("org/model") is None


def test_an_id_that_the_hub_does_not_know_is_said(monkeypatch):
    class Response:
        headers: dict = {}  # noqa: RUF012
        request = None
        status_code = 404

    def unknown(*_arguments, **_keywords):
        raise RepositoryNotFoundError("404", response=Response())

    monkeypatch.setattr(hub, "model_info", unknown)
    with pytest.raises(InputError, match="^org/model: the hub knows no such model"):
        fetch_snapshot("org/model")


def test_a_snapshot_is_of_the_hubs_commit_and_holds_no_code(tmp_path, monkeypatch):
    class Info:
        sha = "c0ffee"

    monkeypatch.setattr(hub, "model_info", lambda _name: Info())
    asked = []
    monkeypatch.setattr(
        hub, "snapshot_download", lambda name, **keywords: asked.append((name, keywords)) or str(tmp_path)
    )
    assert fetch_snapshot("org/model") == (tmp_path, "c0ffee")
    assert asked[0][1]["revision"] == "c0ffee"
    assert not any(pattern.endswith((".bin", ".py")) for pattern in asked[0][1]["allow_patterns"])
