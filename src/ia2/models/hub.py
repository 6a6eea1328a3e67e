"""Models of the hub: the files of one that are needed, from the hub or, where that can't be reached, from its cache."""

from pathlib import Path

from huggingface_hub import model_info, snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from ia2.errors import InputError

FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.tiktoken", "*.jinja"]
# the same weights once more, as Mistral's own programs and those of other folders want them
COPIES = ["consolidated*", "*/*"]


def fetch_snapshot(name: str) -> tuple[Path, str]:
    """The folder of a hub model's files and their commit, from the hub or, where that can't be reached, from its cache.

    Args:
        name: the hub's id.

    Raises:
        InputError: the hub doesn't know the model or doesn't give it out, or can't be reached.
    """
    try:
        revision = model_info(name).sha
        fetched = snapshot_download(name, revision=revision, allow_patterns=FILES, ignore_patterns=COPIES)
        return Path(fetched), str(revision)
    except GatedRepoError as error:
        raise InputError(
            f"{name}: the hub gives this model only to those who accepted its terms and logged in."
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: the hub knows no such model, nor is there a folder of that name.") from error
    except Exception as error:  # every transport has errors of its own
        folder = kept_snapshot(name)
        if folder is None:
            raise InputError(
                f"{name}: the model hub can't be reached ({type(error).__name__}), and the model isn't in its local "
                "cache. Check the connection, name a folder or a GGUF file, or use a built-in model (`ia2 models`)."
            ) from error
        return folder, folder.name


def kept_snapshot(name: str) -> Path | None:
    """The folder of a hub model's files in the hub's cache on this machine; None where it isn't there."""
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
