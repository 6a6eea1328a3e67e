"""The commit of a dataset of the hub, asked before its rows: where the hub can't be reached, that answers at once."""

from ia2.errors import InputError


def commit_of(dataset: str, *, named: str, instead: str, revision: str | None = None) -> str:
    """The commit that a dataset has now.

    Args:
        dataset: its id on the hub.
        named: what a person calls it, for error messages.
        instead: what else may be named, for error messages, as an imperative.
        revision: a branch; by default the main one.

    Raises:
        InputError: the hub can't be reached, doesn't give the dataset out, or has no such branch.
    """
    # takes a while to import, and only what asks the hub needs it
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
    except RepositoryNotFoundError as error:  # one that is gated is of this kind too
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
