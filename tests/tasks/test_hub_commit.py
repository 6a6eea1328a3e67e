import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx

from ia2.errors import InputError
from ia2.tasks.hub_commit import commit_of


def answering(error):
    def dataset_info(_dataset, *, revision):
        if error is HFValidationError:
            raise HFValidationError("no")
        if error is httpx.ConnectError:
            raise httpx.ConnectError("no")
        raise error("no", response=httpx.Response(503, request=httpx.Request("GET", "https://hub")))

    return dataset_info


def test_the_commit_is_that_of_the_branch_that_is_asked_for(monkeypatch):
    class Information:
        def __init__(self, sha):
            self.sha = sha

    monkeypatch.setattr(
        huggingface_hub, "dataset_info", lambda dataset, *, revision: Information(f"{dataset}@{revision}")
    )
    assert commit_of("a/b", named="rows", instead="name a file", revision="old") == "a/b@old"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (HFValidationError, "rows: this can't be a name on the hub. Write hf:owner/name."),
        (
            RepositoryNotFoundError,
            "rows: the hub doesn't provide a/b (RepositoryNotFoundError). Check the name, log in, or name a file.",
        ),
        (RevisionNotFoundError, "rows: a/b no longer has a branch main. Instead, name a file."),
        (
            HfHubHTTPError,
            "rows: the data hub answered with an error (503 Service Unavailable). Try again later, or name a file.",
        ),
        (
            httpx.ConnectError,
            "rows: the data hub can't be reached (ConnectError). Check the connection, or name a file.",
        ),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(monkeypatch, error, sentence):
    monkeypatch.setattr(huggingface_hub, "dataset_info", answering(error))
    with pytest.raises(InputError) as raised:
        commit_of("a/b", named="rows", instead="name a file")
    assert str(raised.value) == sentence
