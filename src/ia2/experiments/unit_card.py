"""What the card of an adapter says of how it is asked, told by the set that taught it."""

from ia2.adapters.card import Asked
from ia2.models.load import LanguageModel
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.literal_text import TextEncoder
from ia2.tasks.files.forms import query_of_text


def asked_of(few_shot_set: FewShotSet, model: LanguageModel) -> Asked:
    """How adapters that were trained on a set are asked.

    Args:
        few_shot_set: the set.
        model: the base model, whose tokenizer tells how long a label is.
    """
    task = few_shot_set.task
    # a benchmark's queries are made of several columns, and a conversation is no text
    of_texts = task.as_written and task.form != "conversation"
    encoder = TextEncoder(model.tokenizer)
    lengths = [len(encoder.of_text(label)) for label in task.labels]
    return Asked(
        query_of_text(task.form, "{text}") if of_texts else None, task.chat, max(lengths, default=task.max_new_tokens)
    )
