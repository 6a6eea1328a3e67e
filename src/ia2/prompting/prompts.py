"""Prompts: the text of demonstrations and a query, and its tokens, with an exact boundary before the response."""

from collections.abc import Iterator, Sequence
from typing import Any

from ia2.errors import FieldError, InputError
from ia2.models.load import LanguageModel
from ia2.models.sequences import TokenSequence
from ia2.prompting.chat_templates import answer_opening, conversation, takes_system, turn_end
from ia2.prompting.literal_text import TextEncoder
from ia2.tasks.task import Example, Instruction, Shown, Task, Turn, turns_of

SEPARATOR = "\n\n"
"""Stands between demonstrations, and between the last one and the query (PROTOCOL, Data)."""


def prompt_text(query: str, shown: Sequence[Shown] = ()) -> str:
    """Demonstrations joined by blank lines, ending with one before the query; the query alone where there are none."""
    texts = [part.text if isinstance(part, Instruction) else part.query + part.response for part in shown]
    return "".join(text + SEPARATOR for text in texts) + query


class PromptTokenizer:
    """Turns prompts and responses into tokens with an exact boundary, and one BOS where the model has one."""

    def __init__(
        self,
        tokenizer: Any,
        context_length: int | None = None,
        end_token: int | None = None,
        chat: bool = False,
        vocabulary: int | None = None,
    ) -> None:
        """Begin to tokenise for a model.

        Args:
            tokenizer: transformers' tokenizer.
            context_length: how many tokens the model reads; None for any number.
            end_token: what ends a response; None where nothing does.
            chat: render prompts through the tokenizer's chat template.
            vocabulary: how many tokens the model has embeddings of; None for as many as the tokenizer has.

        Raises:
            FieldError: there is no chat template, or it writes an answered turn otherwise than it asks for one.
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
        """What changes of the text that asks, so that a response stands where the template puts one."""
        self.takes_system = not chat or takes_system(tokenizer)
        """Whether system turns are turns of the template; else the next user turn begins with what they say."""
        text = "a"
        bare, whole = self._ids(text), list(tokenizer(text)["input_ids"])
        start = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
        self.opening: tuple[int, ...] = () if chat else tuple(whole[:start])
        """What the tokenizer itself puts before a text: BOS, or nothing; a chat template brings its own."""

    @classmethod
    def of(cls, model: LanguageModel, task: Task) -> "PromptTokenizer":
        """A model's tokenizer for a task.

        Free text and a person's own labels end with the end token: in a conversation the one that ends its turn, if the
        chat template has one.

        Raises:
            InputError: responses have an end, and the tokenizer has no such token.
        """
        end_token = None
        if task.teaches_the_end:
            # a model without a template is refused below
            templated = task.chat and getattr(model.tokenizer, "chat_template", None)
            end_token = turn_end(model.tokenizer) if templated else None
            end_token = model.end_token if end_token is None else end_token
        return cls(model.tokenizer, model.context_length, end_token, task.chat, model.vocabulary)

    @property
    def ending(self) -> tuple[int, ...]:
        """The end token, where responses have one."""
        return () if self.end_token is None else (self.end_token,)

    def sequence(self, query: str, response: str, shown: Sequence[Shown] = ()) -> TokenSequence:
        """The prompt's tokens, which are those of the prompt alone, and the response's, the end token included if any.

        Raises:
            InputError: prompt and response together are longer than the model's context.
        """
        prompt = self.rendered(query, shown)
        tokens = TokenSequence(self.prompt(prompt), self.response(prompt, response) + self.ending)
        return self.checked(tokens, query)

    def asked(self, query: str, shown: Sequence[Shown] = ()) -> tuple[int, ...]:
        """The tokens of the prompt that asks a query after what is shown before it."""
        return self.prompt(self.rendered(query, shown))

    def rendered(self, query: str, shown: Sequence[Shown] = ()) -> str:
        """The text of that prompt: joined by blank lines, or turns of a conversation that end where a response begins.

        What a conversation's turns say of special tokens is hidden (`TextEncoder.hidden`), so that they stay text.

        Raises:
            InputError: the chat template refuses these turns.
        """
        if self.answer_opening is None:
            return prompt_text(query, shown)
        turns: list[Turn] = []
        for part in shown:
            if isinstance(part, Instruction):
                turns.append(Turn("system", part.text))
            else:
                turns += [*turns_of(part.query), Turn("assistant", part.response)]
        turns += turns_of(query)
        turns = list(_said_once(turns))
        if not self.takes_system:
            turns = list(_before_user_turns(turns))
        asked = conversation(
            self.tokenizer, [{"role": turn.role, "content": self.encoder.hidden(turn.content)} for turn in turns]
        )
        return self.answer_opening.before_answer(asked)

    def mean_prompt_tokens(self, rows: Sequence[Example], contexts: Sequence[Sequence[Shown]]) -> float:
        """How many tokens the prompts of these rows have on average, each after its context: what a query costs."""
        return sum(len(self.asked(row.query, context)) for row, context in zip(rows, contexts, strict=True)) / len(rows)

    def prompt(self, text: str) -> tuple[int, ...]:
        """The tokens of a prompt as `rendered`, what the tokenizer puts before a text included once."""
        return self.opening + tuple(self._ids(text))

    def response(self, prompt: str, response: str) -> tuple[int, ...]:
        """The tokens of a response that follows this prompt, as `rendered`, directly, the prompt's own left untouched.

        A tokenizer may merge across the boundary, or put a space before any text of its own accord. So the response is
        tokenised behind the prompt where that leaves the prompt's tokens alone, and else behind a line break, which
        every tokenizer keeps apart from what follows it. The tokens read as the response, in the Unicode form that the
        tokenizer gives to all text.

        Raises:
            InputError: the response holds something that the tokenizer can't read.
        """
        line = prompt.rpartition("\n")[2] or "\n"
        written = self._as_rendered(response)
        for before in (line, "a\n"):
            head, whole = self._ids(before), self._ids(before + written)
            tail = whole[len(head) :]
            if whole[: len(head)] == head and tail and self._adds(head, tail, response):
                return tuple(tail)
        tail = self._ids(written)
        if not self._adds(self._ids(line), tail, response):
            raise InputError(f"{_shortened(response)!r}: {self._refusal(self._ids(line), tail, response)}")
        return tuple(tail)

    def separated(self, prompt: str, response: str) -> tuple[int, ...]:
        """The tokens of a response and the first one that stands behind it where it is shown with a query after it.

        In a conversation that one ends the turn; a template that ends none adds nothing.

        Args:
            prompt: as `rendered`.
            response: what follows it.

        Raises:
            InputError: as `response`.
        """
        tokens = self.response(prompt, response)
        if self.chat:
            end = turn_end(self.tokenizer)
            return tokens if end is None else (*tokens, end)
        shown = self.response(prompt, response + SEPARATOR + "a")
        behind = shown[len(tokens) :] if shown[: len(tokens)] == tokens else self._ids(SEPARATOR)
        return (*tokens, behind[0])

    def following(self, prompt: Sequence[int], response: str) -> tuple[int, ...]:
        """The tokens of a response that follows a prompt's tokens. Raises as `response`."""
        return self.response(self._as_rendered(self.text(prompt)), response)

    def checked(self, sequence: TokenSequence, name: str) -> TokenSequence:
        """The sequence, if the model can read it. Raises as `check_length`."""
        self.check_length(len(sequence.prompt) + len(sequence.response), name)
        return sequence

    def check_length(self, length: int, name: str) -> None:
        """Refuse what the model can't read.

        Raises:
            InputError: prompt and response have more tokens together than the model's context.
        """
        if self.context_length is not None and length > self.context_length:
            raise InputError(
                f"{_shortened(name)!r}: prompt and response are {length} tokens, but the model reads "
                f"{self.context_length}. Shorten the text or use fewer demonstrations (a smaller n)."
            )

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The text of tokens that follow a prompt: also a space that a tokenizer drops where a text begins is kept."""
        return self.text([*prompt, *tokens]).removeprefix(self.text(prompt))

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
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
        """A text from data as it stands in a prompt's text."""
        return self.encoder.hidden(text) if self.chat else text

    def _adds(self, head: list[int], tail: list[int], text: str) -> bool:
        return self._normalized(self.continuation(head, tail)) == self._normalized(text)

    def _normalized(self, text: str) -> str:
        """What the tokenizer reads instead of a text, such as composed accents."""
        normalizer = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        return normalizer.normalize_str(text) if normalizer is not None else text

    def _refusal(self, head: list[int], tail: list[int], text: str) -> str:
        """Why these tokens don't add the text to what stands before them, and what to do."""
        right, wrong = self._normalized(text), self._normalized(self.continuation(head, tail))
        alike = (expected == actual for expected, actual in zip(right, wrong, strict=False))
        position = next((at for at, same in enumerate(alike) if not same), min(len(right), len(wrong)))
        near = slice(max(0, position - 10), position + 10)
        return f"this tokenizer makes {wrong[near]!r} of {right[near]!r}. Change the text, or use another model."


def _said_once(turns: Sequence[Turn]) -> Iterator[Turn]:
    """The turns without a system turn that says again what the last one said, as those of many rows do."""
    system = None
    for turn in turns:
        if turn.role == "system":
            if turn == system:
                continue
            system = turn
        yield turn


def _before_user_turns(turns: Sequence[Turn]) -> Iterator[Turn]:
    """The turns without system turns, what those say standing before what the user says next."""
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
