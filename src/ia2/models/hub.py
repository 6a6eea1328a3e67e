"""Models of the hub: the necessary files, from the hub or, if it can't be reached, from its local cache."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import model_info, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

from ia2.errors import InputError

FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.tiktoken", "*.jinja"]
# duplicates of the weights, for Mistral's own programs or in subfolders for other programs
COPIES = ["consolidated*", "*/*"]


@dataclass(frozen=True)
class Snapshot:
    """A hub model's files on this machine."""

    folder: Path
    revision: str
    """Commit of the files."""
    notes: tuple[str, ...] = ()
    """Choices made for the user, one sentence each."""


def fetch_snapshot(name: str) -> Snapshot:
    """Fetch a hub model's current files, or use those fetched before if the hub can't be reached.

    Args:
        name: the model's hub id.

    Raises:
        InputError: the hub doesn't know the model or refuses access, or can't be reached and the cache is incomplete.
    """
    try:
        revision = model_info(name).sha
    except HfHubHTTPError as error:
        raise _refusal(name, error) from error
    except (httpx.HTTPError, ConnectionError) as error:
        return _cached_snapshot(name, type(error).__name__)
    try:
        # by branch: offline, the cache can't find a snapshot fetched by commit from the model's name alone
        folder = Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=COPIES))
    except (httpx.HTTPError, LocalEntryNotFoundError) as error:
        # LocalEntryNotFoundError wraps the original error if the file isn't in the cache either
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        if isinstance(cause, HfHubHTTPError):
            raise _refusal(name, cause) from error
        raise InputError(
            f"{name}: fetching it was interrupted ({type(cause or error).__name__}). Check the connection and try "
            "again: what was fetched is kept."
        ) from error
    if folder.name != revision:
        # if the hub fails between two requests, snapshot_download silently falls back on the cache
        raise InputError(f"{name}: the hub's answers changed while the model was fetched. Try again.")
    return Snapshot(folder, folder.name)


def cached_snapshot(name: str) -> Path | None:
    """Return the folder of a hub model in the local hub cache; None if files are missing."""
    try:
        return Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=COPIES, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _cached_snapshot(name: str, reason: str) -> Snapshot:
    folder = cached_snapshot(name)
    if folder is None:
        raise InputError(
            f"{name}: the model hub can't be reached ({reason}), and its local cache doesn't hold all of the model. "
            "Check the connection, name a folder or a GGUF file, or use a built-in model (`ia2 models`)."
        )
    note = (
        f"The model hub can't be reached ({reason}): using the copy of {name} downloaded before (commit {folder.name})."
    )
    return Snapshot(folder, folder.name, (note,))


def _refusal(name: str, error: HfHubHTTPError) -> InputError:
    if isinstance(error, GatedRepoError):
        return InputError(
            f"{name}: the hub provides this model only to users who have accepted its terms and logged in."
        )
    if isinstance(error, RepositoryNotFoundError):
        return InputError(f"{name}: there is no such model on the hub, and no folder of that name.")
    answer = f"{error.response.status_code} {error.response.reason_phrase}"
    return InputError(f"{name}: the model hub answered with an error ({answer}). Try again later.")
