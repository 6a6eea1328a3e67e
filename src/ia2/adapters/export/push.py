"""Upload an adapter's folder to a new repository on the hub. The token comes from the environment, never printed."""

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
"""Patterns of an adapter's files; anything else in its folder is not uploaded."""


def push(folder: Path, repository: str, *, public: bool = False) -> str:
    """Create a repository on the hub and upload an adapter's folder as one commit.

    Args:
        folder: the adapter's folder, with its model card.
        repository: the new repository, OWNER/NAME.
        public: whether the repository is public.

    Returns:
        The repository's URL.

    Raises:
        InputError: the token or the model card is missing, the name is invalid, the base model isn't from the hub, the
            repository isn't empty, or the hub refuses or can't be reached.
    """
    token = check_push(folder, repository)
    api = HfApi(endpoint=os.environ.get(ENDPOINT) or None, token=token)
    barred = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        address = api.create_repo(repository, private=not public, exist_ok=True)
        # a failed upload leaves an empty repository, which may be filled
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
        # the exception's text and its cause may contain the request's headers
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
    """Check everything that can be checked before the first request to the hub; return the token.

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
