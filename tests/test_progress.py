from ia2.progress import SILENT, Progress


def test_whoever_listens_to_nothing_is_told_all_the_same(capsys):
    assert isinstance(SILENT, Progress)
    with SILENT.phase("evaluate", 3) as advance:
        advance(3)
    SILENT.say("A choice was made.")
    assert capsys.readouterr() == ("", "")
