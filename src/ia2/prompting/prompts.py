"""Prompts: the text of demonstrations and a query, tokenised with an exact boundary before the response."""

from collections.abc import Iterator, Sequence
from typing import Any

from ia2.errors import FieldError, InputError
from ia2.models.load import LanguageModel
from ia2.models.sequences import TokenSequence
from ia2.prompting.chat_templates import answer_opening, conversation, takes_system, turn_end
from ia2.prompting.literal_text import TextEncoder
from ia2.tasks.task import ContextItem, Example, Instruction, Task, Turn, turns_of

SEPARATOR = "\n\n"
"""Separator between demonstrations, and before the query (PROTOCOL, Data)."""


def prompt_text(query: str, context: Sequence[ContextItem] = ()) -> str:
    """Return the demonstrations and the query, separated by blank lines; only the query if there are none."""
    texts = [part.text if isinstance(part, Instruction) else part.query + part.response for part in context]
    return "".join(text + SEPARATOR for text in texts) + query


class PromptTokenizer:
    """Tokenises prompts and responses with an exact boundary, and a single BOS if the model has one."""

    def __init__(
        self,
        tokenizer: Any,
        context_length: int | None = None,
        end_token: int | None = None,
        chat: bool = False,
        vocabulary: int | None = None,
    ) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: a transformers tokenizer.
            context_length: maximum number of tokens that the model reads; None for no limit.
            end_token: the token that ends a response; None for no end token.
            chat: whether to render prompts through the tokenizer's chat template.
            vocabulary: number of token embeddings of the model; None for that of the tokenizer.

        Raises:
            FieldError: there is no chat template, or it renders an answered turn differently from a generation prompt.
        """
        if chat and not getattr(tokenizer, "chat_template", None):
            raise FieldError(
                "chat", None, "this model has no chat template. Leave it out, or use an instruction-tuned model."
            )
        self.tokenizer = tokenizer
        self.encoder = TextEncoder(tokenizer)
        self.context_length = context_length
        self.end_token = end_token
        self.chat = chat
        self.vocabulary = vocabulary
        self.answer_opening = answer_opening(tokenizer) if chat else None
        """Edits to the generation prompt, so that a response follows exactly where the template puts it."""
        self.takes_system = not chat or takes_system(tokenizer)
        """Whether the template has system turns; otherwise their text is prepended to the next user turn."""
        text = "a"
        bare, whole = self._ids(text), list(tokenizer(text)["input_ids"])
        start = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
        self.opening: tuple[int, ...] = () if chat else tuple(whole[:start])
        """Tokens that the tokenizer adds before a text: BOS or none; a chat template contains its own."""

    @classmethod
    def of(cls, model: LanguageModel, task: Task) -> "PromptTokenizer":
        """Return the prompt tokenizer of a model for a task.

        Free text and labels from a user's file end with the end token; in a conversation, with the one that ends a
        turn, if the chat template has one.

        Raises:
            InputError: responses need an end token, and the tokenizer has none.
        """
        end_token = None
        if task.teaches_the_end:
            # the constructor refuses a model without a template
            templated = task.chat and getattr(model.tokenizer, "chat_template", None)
            end_token = turn_end(model.tokenizer) if templated else None
            end_token = model.end_token if end_token is None else end_token
        return cls(model.tokenizer, model.context_length, end_token, task.chat, model.vocabulary)

    @property
    def ending(self) -> tuple[int, ...]:
        """The end token as a tuple; empty if responses have none."""
        return () if self.end_token is None else (self.end_token,)

    def sequence(self, query: str, response: str, context: Sequence[ContextItem] = ()) -> TokenSequence:
        """Return the tokens of a prompt and its response, including the end token if any.

        The prompt's tokens are the same as without a response.

        Raises:
            InputError: prompt and response together exceed the model's context length.
        """
        prompt = self.rendered(query, context)
        tokens = TokenSequence(self.prompt(prompt), self.response(prompt, response) + self.ending)
        return self.checked(tokens, query)

    def asked(self, query: str, context: Sequence[ContextItem] = ()) -> tuple[int, ...]:
        """Return the tokens of the prompt of a query, with its demonstrations or other context."""
        return self.prompt(self.rendered(query, context))

    def rendered(self, query: str, context: Sequence[ContextItem] = ()) -> str:
        """Return the text of a prompt: parts joined by blank lines, or a rendered conversation up to the response.

        In a conversation, special tokens in the contents of turns are escaped (`TextEncoder.hidden`), so that they stay
        text.

        Raises:
            InputError: the chat template refuses these turns.
        """
        if self.answer_opening is None:
            return prompt_text(query, context)
        turns: list[Turn] = []
        for part in context:
            if isinstance(part, Instruction):
                turns.append(Turn("system", part.text))
            else:
                turns += [*turns_of(part.query), Turn("assistant", part.response)]
        turns += turns_of(query)
        turns = list(_without_repeated_system_turns(turns))
        if not self.takes_system:
            turns = list(_merged_into_user_turns(turns))
        asked = conversation(
            self.tokenizer, [{"role": turn.role, "content": self.encoder.hidden(turn.content)} for turn in turns]
        )
        return self.answer_opening.before_answer(asked)

    def mean_prompt_tokens(self, rows: Sequence[Example], contexts: Sequence[Sequence[ContextItem]]) -> float:
        """Return the mean number of prompt tokens of rows with their contexts, which is the cost of a query."""
        return sum(len(self.asked(row.query, context)) for row, context in zip(rows, contexts, strict=True)) / len(rows)

    def prompt(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a prompt from `rendered`, including a single BOS if the tokenizer adds one."""
        return self.opening + tuple(self._ids(text))

    def response(self, prompt: str, response: str) -> tuple[int, ...]:
        """Return the tokens of a response that directly follows a prompt from `rendered`.

        A tokenizer may merge tokens across the boundary, or add a space before any text. The response is therefore
        tokenised after the prompt's last line if that leaves the prompt's tokens unchanged, and otherwise after a line
        break, which no tokenizer merges with the text after it. The tokens decode to the response, in the tokenizer's
        Unicode normal form.

        Raises:
            InputError: the tokenizer can't represent the response.
        """
        line = prompt.rpartition("\n")[2] or "\n"
        written = self._as_rendered(response)
        for before in (line, "a\n"):
            head, whole = self._ids(before), self._ids(before + written)
            tail = whole[len(head) :]
            if whole[: len(head)] == head and tail and self._decodes_to(head, tail, response):
                return tuple(tail)
        tail = self._ids(written)
        if not self._decodes_to(self._ids(line), tail, response):
            raise InputError(f"{_shortened(response)!r}: {self._refusal(self._ids(line), tail, response)}")
        return tuple(tail)

    def separated(self, prompt: str, response: str) -> tuple[int, ...]:
        """Return the tokens of a response and the first token of the separator that follows it in a demonstration.

        In a conversation, the extra token is the one that ends the turn; there is none if the template has no such
        token.

        Args:
            prompt: a prompt from `rendered`.
            response: the response that follows it.

        Raises:
            InputError: as for `response`.
        """
        tokens = self.response(prompt, response)
        if self.chat:
            end = turn_end(self.tokenizer)
            return tokens if end is None else (*tokens, end)
        shown = self.response(prompt, response + SEPARATOR + "a")
        separator_tokens = shown[len(tokens) :] if shown[: len(tokens)] == tokens else self._ids(SEPARATOR)
        return (*tokens, separator_tokens[0])

    def following(self, prompt: Sequence[int], response: str) -> tuple[int, ...]:
        """Return the tokens of a response that follows a tokenised prompt. Raises the errors of `response`."""
        return self.response(self._as_rendered(self.text(prompt)), response)

    def checked(self, sequence: TokenSequence, name: str) -> TokenSequence:
        """Return the sequence if it fits in the model's context. Raises the errors of `check_length`."""
        self.check_length(len(sequence.prompt) + len(sequence.response), name)
        return sequence

    def check_length(self, length: int, name: str) -> None:
        """Refuse a sequence that doesn't fit in the model's context.

        Raises:
            InputError: prompt and response together exceed the model's context length.
        """
        if self.context_length is not None and length > self.context_length:
            raise InputError(
                f"{_shortened(name)!r}: prompt and response are {length} tokens, but the model reads "
                f"{self.context_length}. Shorten the text or use fewer demonstrations (a smaller n)."
            )

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """Decode tokens that follow a prompt, keeping a leading space that a tokenizer drops at a text's start."""
        return self.text([*prompt, *tokens]).removeprefix(self.text(prompt))

    def text(self, tokens: Sequence[int]) -> str:
        """Decode tokens, skipping special ones."""
        decoded: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return decoded

    def _ids(self, text: str) -> list[int]:
        ids = self.encoder.of_template(text) if self.chat else self.encoder.of_text(text)
        if self.vocabulary is not None and ids and max(ids) >= self.vocabulary:
            token = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise InputError(
                f"{_shortened(text)!r}: the tokenizer reads {token!r} as token {max(ids)}, but the model has "
                f"embeddings of only {self.vocabulary} tokens. Use the model's own tokenizer, or give "
                "the model more embeddings."
            )
        return ids

    def _as_rendered(self, text: str) -> str:
        """Return a text from data as written in a rendered prompt, with special tokens escaped in a conversation."""
        return self.encoder.hidden(text) if self.chat else text

    def _decodes_to(self, head: list[int], tail: list[int], text: str) -> bool:
        return self._normalized(self.continuation(head, tail)) == self._normalized(text)

    def _normalized(self, text: str) -> str:
        """Apply the tokenizer's text normalisation, such as composing accents."""
        normalizer = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        return normalizer.normalize_str(text) if normalizer is not None else text

    def _refusal(self, head: list[int], tail: list[int], text: str) -> str:
        """Return the error message for tokens that don't decode to the text."""
        right, wrong = self._normalized(text), self._normalized(self.continuation(head, tail))
        equal = (expected == actual for expected, actual in zip(right, wrong, strict=False))
        position = next((at for at, same in enumerate(equal) if not same), min(len(right), len(wrong)))
        excerpt = slice(max(0, position - 10), position + 10)
        return f"this tokenizer makes {wrong[excerpt]!r} of {right[excerpt]!r}. Change the text, or use another model."


def _without_repeated_system_turns(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Yield the turns without system turns that repeat the previous system turn, which many rows share."""
    system = None
    for turn in turns:
        if turn.role == "system":
            if turn == system:
                continue
            system = turn
        yield turn


def _merged_into_user_turns(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Yield the turns with the text of system turns prepended to the next user turn."""
    before = ""
    for turn in turns:
        if turn.role == "system":
            before += turn.content + SEPARATOR
        elif turn.role == "user":
            yield Turn("user", before + turn.content)
            before = ""
        else:
            yield turn


def _shortened(text: str) -> str:
    return str(text) if len(text) <= 40 else text[:40] + "…"
