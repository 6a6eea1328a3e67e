"""The prompt form written on an adapter's card, derived from its training set."""

from ia2.adapters.card import Asked
from ia2.models.load import LanguageModel
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.literal_text import TextEncoder
from ia2.tasks.files.forms import query_of_text


def asked_of(few_shot_set: FewShotSet, model: LanguageModel) -> Asked:
    """Return how to prompt adapters trained on a set.

    Args:
        few_shot_set: the training set.
        model: the base model; its tokenizer gives the number of tokens to generate for a label.
    """
    task = few_shot_set.task
    # a benchmark builds its queries from several columns, and a conversation isn't plain text
    is_plain_text = task.as_written and task.form != "conversation"
    encoder = TextEncoder(model.tokenizer)
    lengths = [len(encoder.of_text(label)) for label in task.labels]
    return Asked(
        query_of_text(task.form, "{text}") if is_plain_text else None,
        task.chat,
        max(lengths, default=task.max_new_tokens),
    )
