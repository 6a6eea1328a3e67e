"""Datasets of the hub through a stand-in: what is asked of the library, and what is made of its answers."""

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import httpx

from ia2.errors import InputError
from ia2.tasks.files import load_file

SPLITS = {
    ("owner/plain", None): {"train": [("a", "x"), ("b", "y")], "test": [("c", "x")]},
    ("owner/several", "small"): {"train": [("a", "x"), ("b", "y")]},
    ("owner/untrained", "default"): {"first": [("a", "x"), ("b", "y")], "second": [("c", "x")]},
}


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    """A hub that holds SPLITS."""

    class Information:
        sha = "c0ffee"

    def load_dataset(name, config, *, split, revision):
        assert revision == "c0ffee"
        rows = {
            key: datasets.Dataset.from_list([{"text": text, "label": label} for text, label in split_rows])
            for key, split_rows in SPLITS[name, config].items()
        }
        if split is not None and split not in rows:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(rows)}.\nMore.')
        return datasets.DatasetDict(rows) if split is None else rows[split]

    def default_config(name, *, revision):
        return {"owner/untrained": "default"}.get(name)

    def configs(name, *, revision):
        return ["small", "large"] if name == "owner/several" else []

    monkeypatch.setattr(huggingface_hub, "dataset_info", lambda name, revision: Information)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_default_config_name", default_config)
    monkeypatch.setattr(datasets, "get_dataset_config_names", configs)


def test_a_dataset_is_read_at_its_commit_with_its_test_split_evaluated():
    task = load_file("hf:owner/plain")
    assert [row.query for row in task.pool] == ["Text:a\nLabel:", "Text:b\nLabel:"]
    assert [row.query for row in task.evaluation] == ["Text:c\nLabel:"]
    assert task.name == "plain"
    assert task.source.startswith("hub owner/plain@c0ffee, sha256:")
    assert any("split train is read" in note for note in task.notes)
    assert any("test is evaluated" in note for note in task.notes)


def test_a_split_alone_is_read_and_the_advice_of_each_refusal_works():
    task = load_file("hf:owner/several:small:train")
    assert (len(task.pool), task.evaluation, task.name) == (2, (), "several-small-train")
    assert task.source.startswith("hub owner/several@c0ffee, owner/several:small:train, sha256:")
    for name, said in {
        "hf:owner/several": "several configurations: small, large. Name one, such as",
        "hf:owner/untrained": "no split is called train; the splits are first, second. Name one, such as",
    }.items():
        with pytest.raises(InputError, match=said) as raised:
            load_file(name)
        assert len(load_file(str(raised.value).removesuffix(".").rpartition(" ")[2]).pool) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf:", "this is not a name of a hub dataset. Use hf:owner/name or hf:owner/name:config:split.$"),
        ("hf:a/b/c", "this is not a name of a hub dataset"),
        ("hf:owner/several:small:dev", r"can't be loaded \(Unknown split \"dev\"..*\). Check its name, or name a file"),
    ],
)
def test_names_that_cannot_be_read_are_refused_in_a_sentence(name, said):
    with pytest.raises(InputError, match=said) as raised:
        load_file(name)
    assert str(raised.value).startswith(name)
    assert "\n" not in str(raised.value)


def refusing(kind, status):
    response = httpx.Response(status, request=httpx.Request("GET", "https://hub"))
    return kind("no", response=response)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            httpx.ConnectError("no route"),
            r"the data hub can't be reached \(ConnectError\). Check the connection, or name",
        ),
        (refusing(RepositoryNotFoundError, 404), "the hub doesn't provide owner/plain"),
        (refusing(HfHubHTTPError, 503), r"the data hub answered with an error \(503 Service Unavailable\). Try again"),
    ],
)
def test_a_hub_that_does_not_answer_is_told_in_a_sentence(monkeypatch, error, said):
    def refuse(name, revision):
        raise error

    monkeypatch.setattr(huggingface_hub, "dataset_info", refuse)
    with pytest.raises(InputError, match=said) as raised:
        load_file("hf:owner/plain")
    assert str(raised.value).startswith("hf:owner/plain: ")
    assert "\n" not in str(raised.value)
