import pytest
from fuzz_inputs import ROUNDS


@pytest.fixture(autouse=True, params=range(ROUNDS))
def fuzz_round(request):
    """Every test tries new inputs in each round."""
    return request.param
