import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia2.models.sequences import TokenSequence, shared_tokens


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5))
def test_what_is_shared_begins_every_prompt_and_leaves_each_a_token(prompts):
    shared = shared_tokens([TokenSequence(tuple(prompt), (0,)) for prompt in prompts])
    assert all(tuple(prompt[: len(shared)]) == shared and len(prompt) > len(shared) for prompt in prompts)
    # and it is the longest such run
    longer = [tuple(prompt[: len(shared) + 1]) for prompt in prompts]
    assert len(set(longer)) > 1 or any(len(prompt) == len(shared) + 1 for prompt in prompts)


def test_a_sequence_without_prompt_or_response_is_refused():
    for prompt, response in (((), (1,)), ((1,), ())):
        with pytest.raises(ValueError, match="at least one"):
            TokenSequence(prompt, response)


def test_positions_are_the_querys_and_those_that_predict_the_response():
    sequence = TokenSequence((5, 6, 7, 8), (1, 2, 3), query_tokens=3)
    assert sequence.inputs == (5, 6, 7, 8, 1, 2)
    at = {
        where: [sequence.inputs[index] for index in sequence.positions(where)]
        for where in ("prompt", "response", "all")
    }
    # the last prompt token predicts the first response token
    assert at == {"prompt": [6, 7], "response": [8, 1, 2], "all": [6, 7, 8, 1, 2]}
