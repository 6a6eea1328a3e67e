from hypothesis import given
from hypothesis import strategies as st

from ia2.models.layout import PADDING, SHARED, lay_out
from ia2.models.sequences import TokenSequence

TOKENS = st.lists(st.integers(1, 99), min_size=1, max_size=12).map(tuple)
# built inside the tests: the run-time type checker draws random numbers, which hypothesis forbids inside a strategy
PAIRS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5)


def built(pairs):
    return [TokenSequence(prompt, response) for prompt, response in pairs]


@given(PAIRS, st.sampled_from(["packed", "right", "left"]))
def test_positions_predict_each_response_token(pairs, layout):
    sequences = built(pairs)
    batch = lay_out(sequences, layout=layout)
    assert batch.responses().tolist() == [token for sequence in sequences for token in sequence.response]
    for index, sequence in enumerate(sequences):
        own = batch.at().example == index
        places = batch.at().token[own]
        # the position that predicts a token is that of the one before it
        read = (*sequence.prompt, *sequence.response)[len(sequence.prompt) - 1 : -1]
        assert tuple(batch.input_ids.flatten()[places].tolist()) == read
        assert batch.position_ids.flatten()[places].tolist() == list(
            range(len(sequence.prompt) - 1, len(sequence.prompt) + len(sequence.response) - 1)
        )


@given(PAIRS)
def test_sequences_that_share_one_row_have_no_padding(pairs):
    sequences = built(pairs)
    batch = lay_out(sequences, rows=[range(len(sequences))], share=False)
    assert (batch.owner != PADDING).all()
    assert batch.input_ids.numel() == sum(len(sequence.inputs) for sequence in sequences)


def test_what_all_of_a_row_begin_with_stands_in_it_once():
    first, second, third = (
        TokenSequence((7, 8, 1), (4, 5)),
        TokenSequence((7, 8, 2, 3), (6,)),
        TokenSequence((7, 8), (9,)),
    )
    batch = lay_out([first, second, third], rows=[[0, 1], [2]])
    assert batch.input_ids.tolist() == [[7, 8, 1, 4, 2, 3], [7, 8, 0, 0, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2, 3], [0, 1, 0, 0, 0, 0]]
    assert batch.owner.tolist() == [[SHARED, SHARED, 0, 0, 1, 1], [2, 2, *[PADDING] * 4]]
    assert batch.at().token.tolist() == [2, 3, 5, 6 + 1]
    # a prompt's last token is its own, and tokens that are skipped aren't there at all
    batch = lay_out([first, third], rows=[[0, 1]])
    assert batch.owner.tolist() == [[SHARED, 0, 0, 0, 1]]
    assert lay_out([first, second], rows=[[0, 1]], skip=1).input_ids.tolist() == [[8, 1, 4, 2, 3]]
