"""Text from data stays text: where it holds how a special token is written, it is encoded as those characters.

So a user's `<|im_end|>` ends no turn. The special tokens that a chat template itself writes stay special.
"""

import copy
import re
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, Tokenizer

from ia2.errors import InputError
from ia2.prompting.chat_templates import special_tokens

# two code points that Unicode promises never to make characters
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_STAND_IN = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class TextEncoder:
    """Encodes texts, and rendered chat templates whose contents are hidden from the tokenizer's special tokens.

    Example:
        >>> len(TextEncoder(model.tokenizer).of_text("<|endoftext|>")) > 1
        True
    """

    def __init__(self, tokenizer: Any) -> None:
        """Begin to encode with transformers' tokenizer."""
        self.tokenizer = tokenizer
        marks = special_tokens(tokenizer)
        self._spellings: tuple[str, ...] = (*marks, _OPEN)
        """What is hidden: how special tokens are written, and what opens a stand-in."""
        self._numbers = {spelling: number for number, spelling in enumerate(self._spellings)}
        # where one begins another, the longer one is meant
        longest_first = sorted(self._spellings, key=len, reverse=True)
        self._written = re.compile("|".join(map(re.escape, longest_first)))
        # a character that a tokenizer doesn't know is the one special token that stands for text
        self._forbidden = {token: text for text, token in marks.items() if token != tokenizer.unk_token_id}

    def hidden(self, text: str) -> str:
        """The text with a stand-in for each special token that is written in it."""
        return self._written.sub(lambda match: f"{_OPEN}{self._numbers[match[0]]}{_CLOSE}", text)

    def shown(self, text: str) -> str:
        """The text that was hidden, as it was written."""
        return _STAND_IN.sub(lambda match: self._spellings[int(match[1])], text)

    def of_text(self, text: str) -> list[int]:
        """The tokens of a text, none of them special.

        Raises:
            InputError: this tokenizer makes a special token of a text even so.
        """
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return self._checked(list(encoded["input_ids"]))

    def of_template(self, text: str) -> list[int]:
        """The tokens of a rendered chat template: special ones where the template wrote them, not where data did.

        Raises:
            InputError: hidden text stands there, and this tokenizer can't read it as text.
        """
        if _OPEN not in text:
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if self._marked is None:
            hidden = _STAND_IN.search(text)
            raise InputError(_unreadable(self._spellings[int(hidden[1])] if hidden else text))
        # every second part is the number of a stand-in; what the template wrote stands between them
        parts = [
            self._spellings[int(part)] if index % 2 else self._marked.with_marks(part)
            for index, part in enumerate(_STAND_IN.split(text))
        ]
        tokens = self._checked(self._marked.encoded("".join(parts)))
        return [self._marked.meaning.get(token, token) for token in tokens]

    def _checked(self, tokens: list[int]) -> list[int]:
        """The tokens of text, if none is special. Raises as `of_text`."""
        special = next((self._forbidden[token] for token in tokens if token in self._forbidden), None)
        if special is not None:
            raise InputError(_unreadable(special))
        return tokens

    @cached_property
    def _marked(self) -> "_MarkedTokenizer | None":
        """Made only where hidden text stands in a conversation, as a large vocabulary takes a second to copy."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            return None
        added = self.tokenizer.added_tokens_decoder.items()
        return _MarkedTokenizer(backend, {number: token for number, token in added if token.special})


class _MarkedTokenizer:
    """A copy of a tokenizer to which special tokens are text, and a mark of each, which no text holds, is that token.

    A mark is found, and takes white space beside it, as the token is. So what stands between two of them has the very
    tokens that it has between the tokens themselves.
    """

    def __init__(self, backend: Tokenizer, special: Mapping[int, AddedToken]) -> None:
        # a text that knew the marks could write special tokens
        secret = secrets.token_hex(8)
        self._marks = {token.content: f"{_CLOSE}{secret}.{number}{_OPEN}" for number, token in special.items()}
        longest_first = sorted(self._marks, key=len, reverse=True)
        self._written = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._backend = copy.deepcopy(backend)
        self._backend.no_padding()
        self._backend.no_truncation()
        self._backend.encode_special_tokens = True
        self._backend.add_tokens(
            [
                AddedToken(
                    self._marks[token.content],
                    lstrip=token.lstrip,
                    rstrip=token.rstrip,
                    single_word=token.single_word,
                    normalized=False,
                )
                for token in special.values()
            ]
        )
        self.meaning: dict[int | None, int] = {
            self._backend.token_to_id(self._marks[token.content]): number for number, token in special.items()
        }
        """The special token that the token of each mark stands for."""

    def with_marks(self, text: str) -> str:
        """The text with the mark of each special token that it writes."""
        return self._written.sub(lambda match: self._marks[match[0]], text)

    def encoded(self, text: str) -> list[int]:
        """The tokens of a text, marks not yet translated."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)


def _unreadable(spelling: str) -> str:
    return (
        f"{spelling!r}: this model's tokenizer has a special token that is written like that, and reads it even where "
        "it is text. Take it out of the text, or use another model."
    )
