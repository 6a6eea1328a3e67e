"""A real model, loaded once; every test module in this folder is marked `REAL`."""

import pytest

from ia2.models.load import LanguageModel, load_model

MODEL = "smollm2-135m"


@pytest.fixture(scope="session")
def smollm2() -> LanguageModel:
    """SmolLM2-135M-Instruct out of its wheel."""
    return load_model(MODEL)
