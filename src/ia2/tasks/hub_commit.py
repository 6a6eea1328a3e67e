"""Looking up a hub dataset's commit before its rows are loaded, so that an unreachable hub fails at once."""

from ia2.errors import InputError


def commit_of(dataset: str, *, named: str, instead: str, revision: str | None = None) -> str:
    """Return the current commit hash of a dataset on the hub.

    Args:
        dataset: the dataset's id on the hub.
        named: the user's name for it, for error messages.
        instead: an alternative for the user, as an imperative, for error messages.
        revision: a branch; the main one by default.

    Raises:
        InputError: the hub can't be reached, denies access to the dataset, or has no such branch.
    """
    # imported here because it is slow and only needed to query the hub
    from huggingface_hub import dataset_info
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        return str(dataset_info(dataset, revision=revision).sha)
    except HFValidationError as error:
        raise InputError(f"{named}: this can't be a name on the hub. Write hf:owner/name.") from error
    except RepositoryNotFoundError as error:  # GatedRepoError is a subclass
        raise InputError(
            f"{named}: the hub doesn't provide {dataset} ({type(error).__name__}). Check the name, log in, or "
            f"{instead}."
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{named}: {dataset} no longer has a branch {revision or 'main'}. Instead, {instead}."
        ) from error
    except HfHubHTTPError as error:
        answer = f"{error.response.status_code} {error.response.reason_phrase}"
        raise InputError(
            f"{named}: the data hub answered with an error ({answer}). Try again later, or {instead}."
        ) from error
    except (httpx.HTTPError, ConnectionError) as error:
        raise InputError(
            f"{named}: the data hub can't be reached ({type(error).__name__}). Check the connection, or {instead}."
        ) from error
