"""An adapter's folder as a repository of the hub. The token comes from the environment and is never said."""

import json
import os
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    httpx,
    validate_repo_id,
)

from ia2.errors import FieldError, InputError
from ia2.models.names import HUB_ID, path_of

TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"
FILES = (
    *("adapter_config.json", "adapter_model.safetensors", "README.md", "taught.json"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("*.model", "*.tiktoken", "tekken.json", "chat_template.jinja"),
)
"""What is an adapter's: nothing else that a person keeps in its folder is given away."""


def push(folder: Path, repository: str, *, public: bool = False) -> str:
    """Make a repository of the hub and upload an adapter's folder as one commit.

    Args:
        folder: the adapter's, with its card.
        repository: the new repository, OWNER/NAME.
        public: whether everyone may see it.

    Returns:
        The repository's address.

    Raises:
        InputError: there is no token, no card or no such name, the base model isn't one of the hub's, the repository
            holds something already, or the hub can't be reached or refuses.
    """
    token = check_push(folder, repository)
    api = HfApi(endpoint=os.environ.get(ENDPOINT) or None, token=token)
    barred = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        address = api.create_repo(repository, private=not public, exist_ok=True)
        # an upload that failed leaves an empty repository behind, which may be filled
        if held := sorted(set(api.list_repo_files(repository)) - {".gitattributes"}):
            raise FieldError(
                "push",
                repository,
                f"this repository exists (it holds {held[0]}), and nothing is overwritten. Name another one.",
            )
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="Upload an adapter trained with ia2",
        )
    except HfHubHTTPError as error:
        raise _refusal(repository, error.response.status_code, error.response.reason_phrase) from None
    except (httpx.HTTPError, ConnectionError) as error:
        # an error's own text, and what it was raised from, may hold the request with its headers
        raise FieldError(
            "push",
            repository,
            f"the hub can't be reached ({type(error).__name__}). Check the connection and try again.",
        ) from None
    finally:
        if not barred:
            enable_progress_bars()
    return str(address)


def check_push(folder: Path, repository: str) -> str:
    """Refuse what can't be pushed before anything is asked of the hub; returns the token.

    Raises:
        InputError: as in `push`.
    """
    if repository.count("/") != 1 or not _is_id(repository):
        raise FieldError("push", repository, "this must be OWNER/NAME, of letters, digits, '-', '_' and '.'.")
    if not (folder / "README.md").is_file():
        raise InputError(f"{folder}: no model card here: README.md is missing. Write one, or adapt again.")
    base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base or not HUB_ID.fullmatch(base) or path_of(base).is_absolute():
        raise InputError(
            f"{folder}: its base model is {base or 'unnamed'}, which nobody else can load. Put the hub's id into "
            "adapter_config.json (base_model_name_or_path) and README.md (base_model)."
        )
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise FieldError("push", repository, f"{TOKEN} isn't set. Set it to a token of the hub that may write.")
    return token


def _is_id(repository: str) -> bool:
    try:
        validate_repo_id(repository)
    except HFValidationError:
        return False
    return True


def _refusal(repository: str, status: int, reason: str) -> InputError:
    if status in (401, 403):
        return FieldError(
            "push", repository, f"the hub refuses ({status} {reason}). Use a token in {TOKEN} that may write there."
        )
    return FieldError("push", repository, f"the hub answered with an error ({status} {reason}). Try again later.")
