"""The baselines of a study by name: what trains no adapter. Light, since a study is read before torch is imported."""

from typing import TYPE_CHECKING

from ia2.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ia2.tasks.task import Task

RECALIBRATED = ("icl-contextual", "icl-batch")
"""In-context learning with the prompt's preference for some labels taken out (`ia2.evaluation.recalibration`)."""
LOGISTIC = ("logistic-hidden", "logistic-tfidf")
"""Logistic regression on the frozen network's last hidden state, or on the words (`ia2.evaluation.logistic`)."""
IN_CONTEXT = ("icl", "context", *RECALIBRATED)
"""What is shown the set's demonstrations, or with `context` the study's context in place of them."""
BASELINES = ("zero-shot", *IN_CONTEXT, *LOGISTIC)
"""In the order in which reports have them."""


def check_labelled(baselines: "Iterable[str]", tasks: "Iterable[Task]") -> None:
    """Refuse baselines that compare labels where a task's responses are free text.

    Raises:
        FieldError: one is.
    """
    text = next((task.name for task in tasks if not task.labels), None)
    comparing = [name for name in baselines if name in (*RECALIBRATED, *LOGISTIC)]
    if text is not None and comparing:
        raise FieldError(
            "methods", comparing[0], f"this compares labels, and the responses of {text} are free text. Leave it out."
        )
