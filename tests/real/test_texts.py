"""Responses of many tokens on a real model and real rows."""

from dataclasses import replace

import torch
from conftest import REAL
from torch.testing import assert_close

from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.models.architectures import attention_blocks
from ia2.models.decoding import decode
from ia2.models.reader import Reader
from ia2.models.responses import Limits
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer, prompt_text
from ia2.tasks.load import load_task

pytestmark = REAL


def test_cached_decoding_is_what_a_forward_pass_for_each_token_gives(smollm2, data_dir):
    task = load_task("gsm8k", data_dir=data_dir)
    few = FewShotSet.draw(task, 2)
    tokenizer = PromptTokenizer.of(smollm2, task)
    prompts = [
        tokenizer.prompt(prompt_text(row.query, context))
        for row, context in zip(few.train, few.training_contexts(), strict=True)
    ]
    found = dict(decode(Reader(smollm2.network), prompts, Limits(10), sites=[ATTENTION_OUTPUT]))
    for index, prompt in enumerate(prompts):
        tokens, attention = list(prompt), []
        for _ in range(10):
            seen = []
            handles = [
                block.register_forward_hook(lambda _m, _a, output: seen.append(output[0][0, -1]))
                for block in attention_blocks(smollm2.network)
            ]
            with torch.no_grad():
                tokens.append(smollm2.network(torch.tensor([tokens])).logits[0, -1].argmax().item())
            for handle in handles:
                handle.remove()
            attention.append(torch.stack(seen))
        assert list(found[index].tokens) == tokens[len(prompt) :]
        assert_close(found[index].activations[ATTENTION_OUTPUT], torch.stack(attention), atol=1e-4, rtol=1e-4)


def test_texts_do_not_depend_on_the_batch(smollm2, data_dir):
    task = replace(load_task("sciq", data_dir=data_dir), max_new_tokens=16)
    few = FewShotSet.draw(task, 2).limited(6)
    texts = {
        tuple(
            row.generated
            for row in evaluate(
                smollm2,
                few.evaluation,
                task,
                demonstrations=few.demonstrations(),
                settings=EvaluationSettings(batch_size=size),
            ).responses
        )
        for size in (1, 4, 16)
    }
    assert len(texts) == 1
    assert all(texts.pop())
