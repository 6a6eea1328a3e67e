from ia2.locks import alone_in, held, is_in_use, mark_in_use


def test_a_lock_has_one_holder_and_goes_with_the_block(tmp_path):
    path = tmp_path / "locks" / "unit"
    with held(path) as first, held(path) as second:
        assert (first, second) == (True, False)
    with held(path) as later:
        assert later


def test_a_lock_whose_file_was_deleted_is_taken_anew(tmp_path):
    path = tmp_path / "unit"
    with held(path) as first:
        path.unlink()
        with held(path) as second:
            assert (first, second) == (True, True)
            assert path.exists()


def test_a_locked_folder_is_created_and_left_empty(tmp_path):
    with alone_in(tmp_path / "new"):
        assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_is_in_use_as_long_as_who_uses_it_lives(tmp_path):
    class User:
        pass

    users = [User(), User()]
    for user in users:
        mark_in_use(tmp_path, user)
    mark_in_use(tmp_path / "none", users[0])
    assert is_in_use(tmp_path)
    del user
    users.pop()
    assert is_in_use(tmp_path)
    users.pop()
    assert not is_in_use(tmp_path)
    assert not is_in_use(tmp_path / "none")
