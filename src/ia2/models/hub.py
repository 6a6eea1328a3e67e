"""Models of the hub: the files of one that are needed, from the hub or, where that can't be reached, from its cache."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import model_info, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

from ia2.errors import InputError

FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.tiktoken", "*.jinja"]
# the same weights once more, as Mistral's own programs and those of other folders want them
COPIES = ["consolidated*", "*/*"]


@dataclass(frozen=True)
class Snapshot:
    """A hub model's files on this machine."""

    folder: Path
    revision: str
    """Their commit."""
    notes: tuple[str, ...] = ()
    """Choices made for the user, one sentence each."""


def fetch_snapshot(name: str) -> Snapshot:
    """A hub model's files as the hub has them now or, where that can't be reached, as they were fetched before.

    Args:
        name: the hub's id.

    Raises:
        InputError: the hub doesn't know the model or doesn't give it out, or can't be reached.
    """
    try:
        revision = model_info(name).sha
    except HfHubHTTPError as error:
        raise _refusal(name, error) from error
    except (httpx.HTTPError, ConnectionError) as error:
        return _fetched_before(name, type(error).__name__)
    try:
        # by its branch, as the cache wouldn't find a commit by the model's name alone
        folder = Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=COPIES))
    except (httpx.HTTPError, LocalEntryNotFoundError) as error:
        # the latter is what the library makes of an error when the file isn't in its cache either
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        if isinstance(cause, HfHubHTTPError):
            raise _refusal(name, cause) from error
        raise InputError(
            f"{name}: fetching it was interrupted ({type(cause or error).__name__}). Check the connection and try "
            "again: what was fetched is kept."
        ) from error
    if folder.name != revision:
        # where the hub fails between two answers, snapshot_download falls back on the cache and doesn't say so
        raise InputError(f"{name}: the hub's answers changed while the model was fetched. Try again.")
    return Snapshot(folder, folder.name)


def kept_snapshot(name: str) -> Path | None:
    """The folder of a hub model's files in the hub's cache on this machine; None where they aren't all there."""
    try:
        return Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=COPIES, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _fetched_before(name: str, reason: str) -> Snapshot:
    folder = kept_snapshot(name)
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
