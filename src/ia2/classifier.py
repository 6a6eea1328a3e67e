"""A scikit-learn text classifier: fit it on a few labelled texts with any of the project's methods."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ia2.adapters.adapter import Adapter
from ia2.adapters.card import FILE as CARD
from ia2.adapters.card import Asked, write_card
from ia2.adapters.kind import AdapterKind
from ia2.adapters.provenance import Provenance
from ia2.adapters.registry import adapter_of
from ia2.cache import folder_written_whole
from ia2.errors import FieldError, InputError
from ia2.inference.label_scoring import AnyLabelScoring, LabelTokens, adapter_scoring_of, label_scoring_of
from ia2.inference.predict import Answer, predict
from ia2.inference.task_form import fitted
from ia2.models.load import LanguageModel, load_model
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.files.forms import query_of_text
from ia2.tasks.task import Example, Task, rows_digest, without_repeats
from ia2.training.early_stopping import Training
from ia2.training.methods import Method, method_named
from ia2.training.plans import Plan
from ia2.training.teacher import collect_targets
from ia2.training.train import selection_loss, train_all
from ia2.training.trained_record import trained_record

WITHOUT_TRAINING = ("zero-shot", "icl")


@lru_cache(maxsize=1)
def _loaded(name: str, dtype: str | None, device: str | None) -> LanguageModel:
    """Return a model that stays loaded, so that the folds of a cross-validation share it."""
    return load_model(name, dtype=dtype, device=device)


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A text classifier made from a language model and a few labelled rows.

    Two thirds of the rows are training rows. The others are dev rows, used for early stopping and to choose the
    learning rate.

    Args:
        model: a built-in model's name, a hub id, a folder or a GGUF file. The last one used stays loaded.
        method: a method that trains an adapter (`ia2.METHODS`), `icl` to use the training rows as demonstrations, or
            `zero-shot`.
        adapter: the kind of adapter.
        learning_rates: learning rates to try; the best by dev loss is kept. By default those that suit the adapter.
        epochs: maximum number of passes over the training rows.
        seed: seed of the draw of training rows and of their order.
        chat: whether to use the model's chat template.
        dtype: float32, bfloat16 or float16; by default float32 on a CPU and bfloat16 on a GPU.
        device: cpu, cuda or mps; by default a CUDA GPU if there is one.

    Attributes:
        classes_: the labels, sorted; `predict_proba` has a column for each.

    Example:
        >>> model.network.save_pretrained("tiny")
        >>> _ = model.tokenizer.save_pretrained("tiny")
        >>> texts = ["a fine film", "a dull film", "warm and fine", "cold and dull", "fine", "dull"]
        >>> classifier = Classifier("tiny", method="sft", learning_rates=[1e-2], epochs=2, device="cpu")
        >>> _ = classifier.fit(texts, ["good", "bad"] * 3)
        >>> classifier.classes_.tolist(), classifier.predict_proba(["a fine day"]).shape
        (['bad', 'good'], (1, 2))
    """

    def __init__(
        self,
        model: str | Path = "smollm2-135m",
        method: str = "ia2-sft",
        *,
        adapter: str = "lora",
        learning_rates: Sequence[float] | None = None,
        epochs: int = 50,
        seed: int = 0,
        chat: bool = False,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.method = method
        self.adapter = adapter
        self.learning_rates = learning_rates
        self.epochs = epochs
        self.seed = seed
        self.chat = chat
        self.dtype = dtype
        self.device = device

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> "Classifier":  # noqa: N803 - scikit-learn's name
        """Learn from labelled texts.

        Args:
            X: the texts.
            y: a label for each: texts, numbers or booleans.

        Raises:
            InputError: a text is empty, a label is missing, there are too few rows or labels, or a parameter is
                invalid.
        """
        method = None if self.method in WITHOUT_TRAINING else method_named(self.method)
        kind = adapter_of(self.adapter, {})
        texts, labels = _checked_texts(X), _checked_labels(y)
        if len(texts) != len(labels):
            raise InputError(f"There are {len(texts)} texts and {len(labels)} labels. Give each text a label.")
        self.classes_: NDArray[Any] = np.unique(labels)
        task = _task(texts, labels, self.classes_)
        model = self._model()
        task = fitted(task, model, chat=self.chat)
        LabelTokens.of(task, PromptTokenizer.of(model, task))  # refuses labels that can't be scored
        # the most rows that leave half as many for the dev set
        self.few_shot_set_ = FewShotSet.draw(task, (2 * len(task.pool) + 1) // 3, self.seed)
        self.taught_: Provenance | None = None  # of an adapter that was loaded, as its card
        self.card_: str | None = None
        self.adapter_ = None if method is None else self._trained(model, method, kind)
        return self

    def _model(self) -> LanguageModel:
        return _loaded(str(self.model), self.dtype, self.device)

    def _trained(self, model: LanguageModel, method: Method, kind: AdapterKind) -> Adapter:
        """Return the adapter with the lowest dev loss."""
        few_shot_set = self.few_shot_set_
        targets = None
        if method.needs_targets:
            targets = collect_targets(model, few_shot_set, sites=method.teacher_sites or (ATTENTION_OUTPUT,))
        rates = self.learning_rates or kind.learning_rates
        plans = [Plan(few_shot_set, method, rate, targets) for rate in rates]
        trained = train_all(model, plans, adapter=kind, training=Training(epochs=self.epochs))
        losses = [
            None if outcome.diverged else selection_loss(model, few_shot_set, method, outcome) for outcome in trained
        ]
        sound = [index for index, loss in enumerate(losses) if loss is not None]
        if not sound:
            raise FieldError("learning_rates", list(rates), "training diverged at each of them. Name smaller ones.")
        best = min(sound, key=lambda index: losses[index] or 0.0)
        self.record_ = trained_record(
            model,
            few_shot_set,
            method,
            kind,
            trained[best],
            dev_loss=losses[best],
            label_scoring=label_scoring_of(few_shot_set.task, self._scoring()),
            tried=[{"lr": rate, "dev_loss": loss} for rate, loss in zip(rates, losses, strict=True)],
        )
        return trained[best].adapter

    def _answers(self, texts: Iterable[str]) -> list[Answer]:
        check_is_fitted(self, "classes_")
        taught = self.taught_
        task = self.few_shot_set_.task if taught is None else taught.task()
        shown = self.few_shot_set_.demonstrations() if taught is None and self.method == "icl" else ()
        queries = [query_of_text(task.form, text) for text in _checked_texts(texts)]
        return list(
            predict(
                self._model(), task, queries, adapter=self.adapter_, demonstrations=shown, label_scoring=self._scoring()
            )
        )

    def _scoring(self) -> AnyLabelScoring:
        """Return the label scoring, the same as in training."""
        if self.taught_ is not None:
            return self.taught_.label_scoring or "auto"
        few_shot_set = self.few_shot_set_
        fits_tokens = self.method not in WITHOUT_TRAINING and method_named(self.method).fits_tokens
        tokenizer = PromptTokenizer.of(self._model(), few_shot_set.task)
        return adapter_scoring_of(few_shot_set.task, tokenizer, "auto", fits_tokens=fits_tokens)

    def predict(self, X: Iterable[str]) -> NDArray[Any]:  # noqa: N803 - scikit-learn's name
        """Return the most likely label of each text, with the values given to `fit`."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(-1)]
        return labels

    def predict_proba(self, X: Iterable[str]) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        """Return label probabilities, shape (texts, labels): columns follow `classes_`, and each row sums to 1."""
        answers = self._answers(X)
        names = [str(label) for label in self.classes_]
        rows = [[(answer.probabilities or {})[name] for name in names] for answer in answers]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))

    def save(self, folder: str | Path) -> None:
        """Save the adapter with its tokenizer and model card, as `ia2 adapt` does.

        `load`, `ia2 predict`, `ia2 export` and PEFT can read the folder. The card of an adapter that was loaded is
        saved with it.

        Raises:
            InputError: no adapter was trained, or the folder isn't empty.
        """
        check_is_fitted(self, "classes_")
        if self.adapter_ is None:
            raise InputError(f"{self.method} trains nothing, so there is no adapter to save.")
        model, taught = self._model(), self.taught_
        if taught is None:
            scoring = label_scoring_of(self.few_shot_set_.task, self._scoring())
            taught = Provenance.by(self.few_shot_set_, model, scoring)
        with folder_written_whole(Path(folder)) as partial:
            self.adapter_.save(partial)
            taught.save(partial)
            model.tokenizer.save_pretrained(partial)
            if self.taught_ is None:
                write_card(partial, [self.record_], Asked.of(self.few_shot_set_, model))
            elif self.card_ is not None:
                (partial / CARD).write_text(self.card_, encoding="utf-8")

    @classmethod
    def load(
        cls, folder: str | Path, *, model: str | Path | None = None, dtype: str | None = None, device: str | None = None
    ) -> "Classifier":
        """Load a fitted classifier from an adapter's folder, written by `save` or `ia2 adapt`; its labels are strings.

        Args:
            folder: the adapter's folder.
            model: another model than the one that the adapter names.
            dtype: as in the constructor.
            device: as in the constructor.

        Raises:
            InputError: there is no adapter, it doesn't record how it was trained, or it was trained on free text.
        """
        taught, adapter = Provenance.beside(Path(folder)), Adapter.load(folder)
        name = model or (taught.model if taught is not None else None)
        if taught is None or name is None:
            raise InputError(f"{folder}: this adapter doesn't say how, or on which model, it was trained. Adapt again.")
        if not taught.labels:
            raise InputError(
                f"{folder}: this adapter was trained on free text, but a classifier has labels. Use predict."
            )
        made = cls(name, chat=taught.chat, dtype=dtype, device=device)
        made.classes_ = np.array([label.strip() for label in taught.labels])
        made.adapter_, made.taught_ = adapter, taught
        card = Path(folder) / CARD
        made.card_ = card.read_text(encoding="utf-8") if card.is_file() else None
        return made

    def __sklearn_tags__(self) -> Any:
        """Return tags that declare text input instead of a numeric matrix."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags


def _checked_texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError(f"{texts!r}: this is one text; give a list of texts.")
    checked = list(texts)
    for number, text in enumerate(checked):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"Text {number} is {text!r}; every row needs a text.")
    return checked


def _checked_labels(labels: Iterable[Any]) -> NDArray[Any]:
    """Return the labels as an array. Refuse missing ones, which numpy would turn into text or keep as None."""
    checked = list(labels)
    for number, label in enumerate(checked):
        # only NaN isn't itself
        if not isinstance(label, str | Number | np.bool_) or label != label:
            raise InputError(f"Label {number} is {label!r}; every row needs a label: a text, a number or a boolean.")
    return np.asarray(checked)


def _task(texts: Sequence[str], labels: NDArray[Any], classes: NDArray[Any]) -> Task:
    """Return a task made of labelled texts.

    Raises:
        InputError: there is only one label, a label is empty, or two labels are the same as text.
    """
    names = [str(label) for label in classes]
    if len(names) < 2:
        raise InputError(f"Every row has the label {names[0]!r}; at least two are needed." if names else "No rows.")
    if len(set(names)) < len(names) or any(name != name.strip() or not name for name in names):
        raise InputError(f"Labels {names}: they must be distinct texts, not empty and without surrounding spaces.")
    pool = without_repeats(
        Example(query_of_text("labelled", text), f" {label}") for text, label in zip(texts, labels, strict=True)
    )
    return Task(
        name="texts",
        description="labels of texts",
        source=f"rows, sha256:{rows_digest(pool)}",
        labels=tuple(f" {name}" for name in names),
        pool=pool,
        as_written=True,
    )
