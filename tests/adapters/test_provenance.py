import hashlib
import json
from dataclasses import replace

import pytest

from ia2.adapters.provenance import FILE, Provenance, weights_id
from ia2.errors import FieldError, InputError
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.task import Dialogue, Example, Turn


@pytest.fixture
def few(toy_task):
    return replace(FewShotSet.draw(toy_task, 4), unlabelled=("Text:what next?\nLabel:",))


def test_it_knows_every_query_that_was_seen_and_none_of_their_texts(tiny_model, few, tmp_path):
    Provenance.by(few, tiny_model).save(tmp_path)
    stored = json.loads((tmp_path / FILE).read_text())
    seen = [row.query for row in few.train + few.dev] + list(few.unlabelled)
    assert stored["queries"] == sorted(hashlib.sha256(query.encode()).hexdigest() for query in seen)
    assert not any(query in (tmp_path / FILE).read_text() for query in seen)
    provenance = Provenance.beside(tmp_path)
    assert provenance.weights == tiny_model.identity.sha256
    assert provenance.unseen(few.train + few.evaluation) == few.evaluation


def test_weights_are_others_once_they_are_quantised(tiny_model):
    quantised = replace(tiny_model, identity=replace(tiny_model.identity, quantisation="4bit"))
    assert weights_id(quantised) == f"{weights_id(tiny_model)} 4bit"
    nameless = replace(quantised, identity=replace(quantised.identity, sha256=None))
    assert weights_id(nameless) is None


def test_an_adapter_of_others_has_none_and_a_damaged_one_is_refused(tmp_path):
    assert Provenance.beside(tmp_path) is None
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(InputError, match=r"taught.json: this file is damaged. Adapt again, or delete it"):
        Provenance.beside(tmp_path)


def test_an_adapter_is_asked_as_it_was_taught(tiny_model, few, toy_task, toy_texts):
    provenance = Provenance.by(few, tiny_model)
    provenance.check_turns(False)
    with pytest.raises(FieldError, match="^chat: this adapter was trained without; leave it out"):
        provenance.check_turns(True)
    with pytest.raises(FieldError, match="^chat: this adapter was trained with it, so it must be asked for here too"):
        replace(provenance, chat=True).check_turns(False)
    assert provenance.in_form(toy_task).labels == few.task.labels
    with pytest.raises(
        InputError, match="responses are free text here, but the adapter was trained on labels.*kind to label"
    ):
        provenance.in_form(toy_texts)


def test_a_dialogue_that_was_seen_is_known_by_its_turns_and_by_its_text_to_earlier_versions(tiny_model, few):
    seen = Dialogue((Turn("system", "a"), Turn("user", "b\n\nassistant: c\n\nuser: d")))
    other = Dialogue((Turn("system", "a"), Turn("user", "b"), Turn("assistant", "c"), Turn("user", "d")))
    assert str(seen) == str(other)
    rows = (Example(seen, "0"), Example(other, "0"))
    provenance = Provenance.by(replace(few, train=rows[:1]), tiny_model)
    assert provenance.unseen(rows) == rows[1:]
    earlier = replace(provenance, queries=frozenset({hashlib.sha256(str(seen).encode()).hexdigest()}))
    assert earlier.unseen(rows) == ()
