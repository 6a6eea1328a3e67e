import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import check_refusal

from ia2.errors import FieldError, InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.encodings import checked_encoding, detect_encoding, read_text

CONTENT = "text,label\nun café,gut\nune soupe à l’oignon,schlecht\n"
QUERIES = ["Text:un café\nLabel:", "Text:une soupe à l’oignon\nLabel:"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("named", [True, False])
def test_a_file_is_read_in_the_encoding_it_has_and_others_than_utf8_are_said(tmp_path, encoding, named):
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENT.encode(encoding))
    task = load_file(path, encoding=encoding if named else None)
    assert [example.query for example in task.pool] == QUERIES
    said = [note for note in task.notes if "is not UTF-8" in note]
    expected = f"rows.csv: this is not UTF-8 text and is read as {encoding}; name the encoding if that is wrong."
    assert said == ([] if named or encoding.startswith("utf-8") else [expected])


def test_bytes_that_are_no_text_are_refused_and_the_advice_works(tmp_path):
    content = b"text,label\n\x81,x\nb,y\n"
    check_refusal(tmp_path, "rows.csv", content, "Name its encoding; latin-1 reads any bytes")
    assert len(load_file(tmp_path / "rows.csv", encoding="latin-1").pool) == 2
    assert detect_encoding(bytes(range(256))) is None


def test_a_wrong_encoding_is_refused_with_one_that_works(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENT.encode("cp1252"))
    with pytest.raises(InputError, match=r"utf-8 text \(byte 17\). It looks like cp1252: leave the encoding"):
        load_file(path, encoding="utf-8")
    assert len(load_file(path).pool) == 2
    path.write_bytes(b"text,label\n\x81,x\nb,y\n")
    with pytest.raises(InputError, match="Name another one, such as latin-1"):
        load_file(path, encoding="utf-8")


@pytest.mark.parametrize("name", ["utf8", "UTF-16", "cp1252", "shift_jis", "latin-1"])
def test_encodings_are_known_by_pythons_names(name):
    assert checked_encoding(name) == name


@pytest.mark.parametrize("name", ["utf-9", "base64", "", "a\0b"])
def test_what_is_no_encoding_of_texts_is_refused(name):
    with pytest.raises(FieldError, match="there is no such text encoding. Use one such as utf-8"):
        checked_encoding(name)


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1))
def test_any_text_comes_back_from_utf8_and_from_utf16_with_a_mark(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    for encoding in ("utf-8", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert read_text(path)[0] == text


def test_what_is_no_text_at_all_is_not_said_to_lack_an_encoding(tmp_path):
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\x9d")
    with pytest.raises(InputError, match="picture.csv: this is not text: it contains zero bytes"):
        read_text(tmp_path / "picture.csv")
    # all the same, a name is believed
    assert read_text(tmp_path / "picture.csv", "latin-1")[0].startswith("\x89PNG")
