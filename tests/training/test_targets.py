import pytest
import torch

from ia2.models.sites import ATTENTION_OUTPUT, LOGITS, Site
from ia2.training.targets import Target, TargetRows, Targets

RESIDUAL = Site("residual", "all")
CPU = torch.device("cpu")


@pytest.fixture
def rows(tmp_path):
    """Three rows with 1, 2 and 3 response tokens, and a query token more where residuals are read."""
    generator = torch.Generator().manual_seed(0)
    files = []
    for count in (1, 2, 3):
        files.append(tmp_path / f"{count}.safetensors")
        activations = {
            ATTENTION_OUTPUT: torch.randn(count, 2, 4, generator=generator),
            RESIDUAL: torch.randn(count + 1, 2, 4, generator=generator),
        }
        Target(torch.arange(count), activations, query_tokens=2).save(files[-1])
    return TargetRows(files, [ATTENTION_OUTPUT, RESIDUAL])


def test_what_is_read_is_what_was_written(rows):
    assert len(rows) == 3
    assert rows[1].tokens.tolist() == [0, 1]
    assert rows[1].query_tokens == 2
    assert rows[1].activations[RESIDUAL].shape == (3, 2, 4)
    assert list(rows.responses()) == [((0,), 2), ((0, 1), 2), ((0, 1, 2), 2)]
    assert [len(target.tokens) for target in rows[1:]] == [2, 3]
    assert rows.bytes_of(ATTENTION_OUTPUT) == 4 * 6 * 2 * 4


@pytest.mark.parametrize("site", [ATTENTION_OUTPUT, RESIDUAL], ids=str)
@pytest.mark.parametrize("chosen", [[0, 1, 2], [2, 0], [1]])
def test_rows_in_memory_are_those_on_disk(rows, site, chosen):
    expected = torch.cat([rows[index].activations[site] for index in chosen])
    assert torch.equal(rows.activations(site, chosen, CPU), expected)
    rows.load(site, CPU)
    assert torch.equal(rows.activations(site, chosen, CPU), expected)
    assert torch.equal(rows.layer(site, 1), torch.cat([target.activations[site][:, 1] for target in rows]))
    rows.let_go()
    assert torch.equal(rows.activations(site, chosen, CPU), expected)


def test_what_is_in_memory_is_not_read_again(rows):
    rows.load(ATTENTION_OUTPUT, CPU)
    for file in rows.files:
        file.unlink()
    rows.load(ATTENTION_OUTPUT, CPU)
    assert rows.activations(ATTENTION_OUTPUT, [2, 1], CPU).shape == (5, 2, 4)


def test_a_student_is_aligned_on_training_rows_and_unlabelled_queries(rows, tmp_path):
    targets = Targets(tmp_path, rows[:1], rows[:1], rows[1:])
    assert targets.taught.files == rows.files
    assert targets.taught is targets.taught
    assert targets.sites == {ATTENTION_OUTPUT, RESIDUAL}
    alone = Targets(tmp_path, rows[:1], rows[:1], rows[:0])
    assert alone.taught is alone.train
    assert LOGITS not in alone.sites
