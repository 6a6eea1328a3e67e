import pytest

from ia2.yaml_files import MOST_NODES, parsed_yaml, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
LAUGHS = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{p: *{before}, q: *{before}}}\n"
    for before, name in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
)


def test_plain_values_and_their_lines():
    parsed = parsed_yaml("a: &few [1, 2]\nb: *few\nc: null\n")
    assert parsed.content == {"a": [1, 2], "b": [1, 2], "c": None}
    assert [key.start_mark.line for key, _ in parsed.tree.value] == [0, 1, 2]
    assert parsed_yaml("") == (None, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("a: [1", "expected ',' or ']'"),
        (BOMB, rf"its anchors stand for \d+ values, and {MOST_NODES} are the most"),
        (LAUGHS, r"its anchors stand for \d+ values"),
        ("a: &a [*a]", "an anchor holds itself"),
        ("a: &a {b: *a}", "an anchor holds itself"),
        ("[" * 5000, "it is nested too deeply"),
        ("- " * 5000 + "a", "it is nested too deeply"),
        ("a: 2024-99-99", "month must be in 1..12"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("? {a: 1}\n: 2", "unhashable"),
        ("a: !!int x", "invalid literal"),
        ("a: !!timestamp x", "NoneType"),
        ("a: !!bool x", "x"),
        ("a: !!binary é", "base64"),
        ("a: \0", "special characters are not allowed"),
    ],
)
def test_what_is_no_plain_value_is_refused_on_one_line(text, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=reason) as raised:
        parsed_yaml(text)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_file_is_read_unless_it_is_far_too_large(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("n: [4, 8]\n")
    assert read_yaml(path).content == {"n": [4, 8]}
    with path.open("ab") as file:
        file.truncate(10**10)
    with pytest.raises(ValueError, match=r"^it has 10\.0 GB, and no such file has more than 4\.2 MB$"):
        read_yaml(path)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")
