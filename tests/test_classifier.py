import json

import numpy as np
import pytest
from huggingface_hub import ModelCard
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from transformers import AutoTokenizer

from ia2.adapters.adapter import Adapter
from ia2.adapters.export.push import push
from ia2.adapters.provenance import Provenance
from ia2.classifier import Classifier
from ia2.errors import InputError
from ia2.inference.predict import predict

WARM = ["warm", "fine and warm", "so warm", "warm again", "a warm day", "warm film"]
COLD = ["cold", "fine but cold", "so cold", "cold again", "a cold day", "cold film"]
TEXTS = [text for pair in zip(WARM, COLD, strict=True) for text in pair]
LABELS = ["good", "bad"] * len(WARM)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """The tiny model in the hub's layout."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.network.save_pretrained(path)
    tiny_model.tokenizer.save_pretrained(path)
    return path


def classifier(folder, **changes):
    chosen = {"method": "sft", "learning_rates": [1e-2], "epochs": 10, "device": "cpu"} | changes
    return Classifier(folder, **chosen)


def test_it_learns_two_words_and_has_scikit_learns_numbers(folder):
    fitted = classifier(folder, learning_rates=[3e-2], epochs=40).fit(TEXTS, LABELS)
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert len(fitted.few_shot_set_.train) == 8
    assert len(fitted.few_shot_set_.dev) == 4
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (12, 2)
    assert probabilities.sum(-1) == pytest.approx(np.ones(12), abs=1e-6)
    predicted = fitted.predict(TEXTS)
    assert predicted.tolist() == [fitted.classes_[row.argmax()] for row in probabilities]
    assert fitted.score(TEXTS, LABELS) == accuracy_score(LABELS, predicted)
    rows = fitted.few_shot_set_.train
    texts = [row.query.removeprefix("Text:").removesuffix("\nLabel:") for row in rows]
    assert fitted.score(texts, [row.response.strip() for row in rows]) == 1


@pytest.mark.parametrize(("labels", "classes"), [([1, 0] * 6, [0, 1]), ([True, False] * 6, [False, True])])
def test_labels_come_back_as_they_were_given(folder, labels, classes):
    fitted = classifier(folder, method="zero-shot").fit(TEXTS, labels)
    assert fitted.classes_.tolist() == classes
    assert fitted.predict(TEXTS).dtype == np.array(labels).dtype


@pytest.mark.parametrize("method", ["zero-shot", "icl"])
def test_ways_that_train_nothing_have_the_same_interface(folder, tiny_model, method):
    fitted = classifier(folder, method=method).fit(TEXTS, LABELS)
    shown = fitted.few_shot_set_.demonstrations() if method == "icl" else ()
    queries = [f"Text:{text}\nLabel:" for text in TEXTS]
    expected = list(predict(tiny_model, fitted.few_shot_set_.task, queries, demonstrations=shown))
    assert fitted.predict_proba(TEXTS) == pytest.approx(
        np.array([[answer.probabilities[name] for name in ("bad", "good")] for answer in expected]), abs=1e-6
    )
    with pytest.raises(InputError, match=f"{method} trains nothing"):
        fitted.save("somewhere")


def test_scikit_learn_can_clone_validate_and_pipe_it(folder):
    made = classifier(folder, epochs=2)
    copy = clone(made)
    assert copy.get_params() == made.get_params()
    assert cross_val_score(made, TEXTS, LABELS, cv=2).shape == (2,)
    upper = FunctionTransformer(lambda texts: [text.replace("film", "day") for text in texts])
    piped = make_pipeline(upper, made).fit(TEXTS, LABELS)
    assert piped.predict(["warm film"]).tolist() == piped[-1].predict(["warm day"]).tolist()
    with pytest.raises(NotFittedError):
        copy.predict(TEXTS)


def test_alignment_serves_as_well(folder):
    fitted = classifier(folder, method="ia2-sft", epochs=2, learning_rates=[1e-3, 1e-2]).fit(TEXTS, LABELS)
    assert set(fitted.predict(TEXTS)) <= {"good", "bad"}


def test_a_saved_one_answers_the_same_and_is_an_adapter_of_the_projects(folder, tmp_path):
    fitted = classifier(folder, epochs=2).fit(TEXTS, LABELS)
    fitted.save(tmp_path / "adapter")
    loaded = Classifier.load(tmp_path / "adapter", device="cpu")
    assert loaded.classes_.tolist() == ["bad", "good"]
    assert loaded.predict_proba(TEXTS) == pytest.approx(fitted.predict_proba(TEXTS), abs=1e-7)
    taught = Provenance.beside(tmp_path / "adapter")
    assert (taught.model, taught.label_scoring, taught.labels) == (str(folder), "whole", (" bad", " good"))
    assert Adapter.load(tmp_path / "adapter").weights.keys() == fitted.adapter_.weights.keys()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    assert tokenizer("a fine film").input_ids == fitted._model().tokenizer("a fine film").input_ids
    loaded.save(tmp_path / "again")
    assert Provenance.beside(tmp_path / "again") == taught
    with pytest.raises(InputError, match="isn't empty"):
        fitted.save(tmp_path / "adapter")


def test_a_saved_folder_says_what_is_known_and_is_pushed(folder, tmp_path, hub):
    fitted = classifier(folder, epochs=2, learning_rates=[1e-3, 1e-2], seed=3).fit(TEXTS, LABELS)
    fitted.save(tmp_path / "adapter")
    card = (tmp_path / "adapter" / "README.md").read_text()
    data = ModelCard(card).data
    assert (data.base_model, data.tags, data.eval_results) == (str(folder), ["ia2", "lora", "sft"], None)
    for row in (
        "| task | texts |",
        "| training rows | 8, and 4 dev rows for early stopping and the learning rate |",
        "| seed of the draw | 3 |",
        "| learning rates tried | 0.001, 0.01 |",
        f"| learning rate | {fitted.record_.lr:g} |",
        f"| dev loss | {fitted.record_.options.dev_loss:.4g} |",
        "| label scoring | whole |",
    ):
        assert row in card
    assert "Nothing was measured: no rows were left to evaluate." in card
    assert "Its calibration was not measured." in card
    assert "Prompt it with `Text:{text}\\nLabel:`" in card
    assert "it was trained to answer ` bad` or ` good`" in card
    assert not [text for text in TEXTS if f"Text:{text}" in card]
    # of what was loaded the same card is saved
    Classifier.load(tmp_path / "adapter", device="cpu").save(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == card
    configuration = tmp_path / "adapter" / "adapter_config.json"
    configuration.write_text(json.dumps(json.loads(configuration.read_text()) | {"base_model_name_or_path": "org/m"}))
    push(tmp_path / "adapter", "me/adapter")
    assert {"README.md", "taught.json", "tokenizer.json"} <= hub.repositories["me/adapter"].keys()


def test_one_that_was_loaded_and_is_fitted_anew_says_how_it_was_fitted(folder, tmp_path):
    classifier(folder, epochs=1).fit(TEXTS, LABELS).save(tmp_path / "first")
    loaded = Classifier.load(tmp_path / "first", device="cpu")
    loaded.set_params(method="sft", learning_rates=[1e-2], epochs=1)
    loaded.fit([f"a {text}" for text in TEXTS], ["yes", "no"] * 6).save(tmp_path / "second")
    assert Provenance.beside(tmp_path / "second").labels == (" no", " yes")
    assert "` no` or ` yes`" in (tmp_path / "second" / "README.md").read_text()


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS[:3], LABELS, "There are 3 texts and 12 labels"),
        (["a", ""], ["x", "y"], "Text 1 is ''; every row needs a text"),
        ("a", ["x"], "'a': this is one text; give a list"),
        (TEXTS, ["x"] * 12, "Every row has the label 'x'; at least two"),
        (TEXTS, ["x", " x"] * 6, "without surrounding spaces"),
        (TEXTS, [1.0, float("nan"), 0.0] * 4, "Label 1 is nan; every row needs a label"),
        (TEXTS, ["x", np.nan, "y"] * 4, "Label 1 is nan; every row needs a label"),
        (TEXTS, ["x", None, "y"] * 4, "Label 1 is None; every row needs a label"),
        (TEXTS, np.array([[0], [1]] * 6), r"Label 0 is array\(\[0\]\)"),
        (["a", "b"], ["x", "y"], "at least"),
    ],
)
def test_rows_that_teach_nothing_are_refused(folder, texts, labels, message):
    with pytest.raises(InputError, match=message):
        classifier(folder).fit(texts, labels)


def test_a_method_or_kind_that_is_none_is_refused_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr("ia2.classifier.load_model", lambda *_a, **_k: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match="no such method"):
        Classifier("some/model", method="sfd").fit(TEXTS, LABELS)
    with pytest.raises(InputError, match="there is no such kind|no adapter|loha"):
        Classifier("some/model", adapter="loha").fit(TEXTS, LABELS)
