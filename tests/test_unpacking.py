import pytest

from ia2.unpacking import LEAST_BYTES, LEAST_ROWS, check_rows, check_size, check_unpacked


def test_small_files_may_unpack_to_some_megabytes_and_large_ones_to_fifty_times_their_size():
    check_unpacked(LEAST_BYTES, 10)
    check_unpacked(50 * 10**9, 10**9)
    with pytest.raises(ValueError, match=r"^it unpacks to 52\.4 MB, from 10 bytes$"):
        check_unpacked(LEAST_BYTES + 1, 10)
    with pytest.raises(ValueError, match=r"^it unpacks to 50\.0 GB, from 1\.0 GB$"):
        check_unpacked(50 * 10**9 + 1, 10**9)


def test_a_file_has_a_row_for_each_byte_at_the_most():
    check_rows(LEAST_ROWS, 10)
    check_rows(10**7, 10**7)
    with pytest.raises(ValueError, match=r"^it says that it has 10000001 rows; 10000000 are the most in 10\.0 MB$"):
        check_rows(10**7 + 1, 10**7)


def test_a_file_that_is_larger_than_any_of_its_kind_is_refused_unread(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    check_size(path, 3)
    check_size(tmp_path / "none", 0)
    with pytest.raises(ValueError, match="^it has 3 bytes, and no such file has more than 2 bytes$"):
        check_size(path, 2)
