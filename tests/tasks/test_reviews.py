from collections import Counter

from ia2.tasks.reviews import LABELS, SUBJECTS, reviews


def test_there_are_hundreds_of_distinct_balanced_sentences():
    task = reviews()
    rows = task.pool + task.evaluation
    assert len({row.query for row in rows}) == len(rows) >= 600
    for part in (task.pool, task.evaluation):
        counts = Counter(row.response for row in part)
        assert counts[LABELS[0]] == counts[LABELS[1]]
    assert task == reviews()


def test_opinions_that_are_measured_were_never_learnt():
    task = reviews()
    for subject in SUBJECTS:
        for opinion in subject.negative + subject.positive:
            assert not (
                any(opinion in row.query for row in task.pool) and any(opinion in row.query for row in task.evaluation)
            )


def test_sentences_are_written_properly():
    task = reviews()
    for row in task.pool + task.evaluation:
        sentence = row.query.removeprefix("Text:").removesuffix("\nLabel:")
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert "{" not in sentence
