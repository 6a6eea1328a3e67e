import pytest

from ia2.analysis.subspace import Overlap
from ia2.errors import InputError
from ia2.reports.known_overlaps import FILE, KnownOverlap, read_overlaps, write_overlaps

KNOWN = {("adapters/u/b", "adapters/u/c"): KnownOverlap({0: 0.25, 1: 0.5}, 0.3, 0.01)}


def test_what_was_written_is_read(tmp_path):
    assert read_overlaps(tmp_path) == {}
    write_overlaps(tmp_path, KNOWN)
    assert read_overlaps(tmp_path) == KNOWN


def test_of_an_overlap_layers_and_means_are_kept():
    modules = {(0, "q"): 0.1, (0, "o"): 0.3, (1, "q"): 0.8}
    known = KnownOverlap.of(Overlap(modules, dict.fromkeys(modules, 0.05)))
    assert known.by_layer == pytest.approx({0: 0.2, 1: 0.8})
    assert (known.mean, known.of_random) == pytest.approx((0.4, 0.05))


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"overlaps": [{"first": "a"}]}', '{"overlaps": [1]}', pytest.param("[" * 100_000, id="nested deeply")],
)
def test_a_damaged_file_is_told(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=r"(?s)overlaps.json: this can't be read .*Delete it"):
        read_overlaps(tmp_path)


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file, so nothing can be written there"):
        write_overlaps(tmp_path / "file", KNOWN)
