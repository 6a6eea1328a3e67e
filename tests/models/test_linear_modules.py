from torch import nn
from transformers.pytorch_utils import Conv1D

from ia2.models.linear_modules import features


def test_inputs_come_before_outputs_in_both_kinds():
    assert features(nn.Linear(3, 5)) == (3, 5)
    assert features(Conv1D(5, 3)) == (3, 5)  # transformers names outputs first
    assert features(nn.Embedding(3, 5)) is None
