from ia2.reports.page.settings import setting_rows


def test_every_value_has_a_row_by_the_path_to_it():
    settings = {
        "name": "a",
        "n": [4, 8],
        "betas": [],
        "dtype": None,
        "tasks": [{"train": "x", "evaluate": ["x", "y"]}, {"train": "z", "evaluate": []}],
        "training": {"epochs": 25, "keep_last": False, "more": {}},
        "learning_rates": [0.0003, True],
    }
    assert setting_rows(settings) == [
        ("name", "a"),
        ("n", "4, 8"),
        ("betas", "–"),
        ("dtype", "–"),
        ("tasks.1.train", "x"),
        ("tasks.1.evaluate", "x, y"),
        ("tasks.2.train", "z"),
        ("tasks.2.evaluate", "–"),
        ("training.epochs", "25"),
        ("training.keep_last", "no"),
        ("training.more", "–"),
        ("learning_rates", "0.0003, yes"),
    ]
