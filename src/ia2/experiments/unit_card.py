"""What the card of an adapter says of how it is asked, told by the set that taught it."""

from ia2.adapters.card import Asked
from ia2.models.load import LanguageModel
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.files.labelled import query_of


def asked_of(few_shot_set: FewShotSet, model: LanguageModel) -> Asked:
    """How adapters that were trained on a set are asked.

    Args:
        few_shot_set: the set.
        model: the base model, whose tokenizer tells how long a label is.
    """
    task = few_shot_set.task
    queries = [row.query for row in few_shot_set.train]
    before, after = query_of("\0").split("\0")
    # what queries have in common could be a text's own words, so that only this one form is looked for
    plain = all(query.startswith(before) and query.endswith(after) for query in queries)
    lengths = [len(model.tokenizer(label, add_special_tokens=False)["input_ids"]) for label in task.labels]
    return Asked(query_of("{text}") if plain else None, task.chat, max(lengths, default=task.max_new_tokens))
