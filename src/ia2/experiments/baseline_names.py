"""Names of the baselines, methods that train no adapter. Nothing here imports torch, so that studies are read fast."""

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
"""Baselines prompted with the set's demonstrations, or with `context` the study's context in their place."""
BASELINES = ("zero-shot", *IN_CONTEXT, *LOGISTIC)
"""All baselines, in the order of reports."""


def check_labelled(baselines: "Iterable[str]", tasks: "Iterable[Task]") -> None:
    """Refuse baselines that compare labels if a task's responses are free text.

    Raises:
        FieldError: a baseline compares labels, and a task has none.
    """
    text = next((task.name for task in tasks if not task.labels), None)
    comparing = [name for name in baselines if name in (*RECALIBRATED, *LOGISTIC)]
    if text is not None and comparing:
        raise FieldError(
            "methods", comparing[0], f"this compares labels, and the responses of {text} are free text. Leave it out."
        )
