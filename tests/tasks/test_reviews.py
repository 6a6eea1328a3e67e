import re
from collections import Counter

from ia2.tasks.reviews import LABELS, NEGATIVE, POSITIVE, SUBJECTS, reviews


def test_there_are_hundreds_of_distinct_balanced_sentences():
    task = reviews()
    rows = task.pool + task.evaluation
    assert len({row.query for row in rows}) == len(rows) >= 600
    for part in (task.pool, task.evaluation):
        counts = Counter(row.response for row in part)
        assert counts[LABELS[0]] == counts[LABELS[1]]
    assert task == reviews()


def words_of(examples):
    return {word for row in examples for word in re.findall(r"[a-z-]+", row.query)}


def test_words_that_are_measured_were_never_learnt():
    task = reviews()
    for words in (NEGATIVE, POSITIVE, *(side for subject in SUBJECTS for side in (subject.negative, subject.positive))):
        assert len(set(words)) == len(words)
        single = {word for word in words if re.fullmatch(r"[a-z-]+", word)}
        assert single <= words_of(task.pool) | words_of(task.evaluation)
        assert not (words_of(task.pool) & words_of(task.evaluation) & single)


def test_sentences_are_written_properly():
    task = reviews()
    assert len(task.pool + task.evaluation) == 640
    for row in task.pool + task.evaluation:
        sentence = row.query.removeprefix("Text:").removesuffix("\nLabel:")
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert "{" not in sentence
