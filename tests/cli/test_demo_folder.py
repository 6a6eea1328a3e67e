import pytest

from ia2.cli.demo_folder import check_demo_folder
from ia2.errors import InputError


@pytest.mark.parametrize("names", [None, (), ("instruction",), ("instruction", "labelled", "figures")])
def test_an_absent_empty_or_begun_demo_will_do(tmp_path, names):
    folder = tmp_path / "demo"
    for name in names or ():
        (folder / name).mkdir(parents=True)
    if names == ():
        folder.mkdir()
    check_demo_folder(folder)
    assert folder.exists() == (names is not None)


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "labelled").mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else \(thesis.txt\). Name another one with --out"):
        check_demo_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_file_is_refused(tmp_path):
    (tmp_path / "rows.csv").touch()
    with pytest.raises(InputError, match="this is a file, but a folder is needed"):
        check_demo_folder(tmp_path / "rows.csv")
