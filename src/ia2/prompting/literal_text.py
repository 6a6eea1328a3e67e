"""Encoding text from data literally: the spelling of a special token in it is encoded as ordinary characters.

A user's `<|im_end|>` therefore doesn't end a turn. Special tokens written by the chat template itself stay special.
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

# two code points that Unicode guarantees are never assigned to characters
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_PLACEHOLDER = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class TextEncoder:
    """Encodes plain texts, and rendered chat templates with placeholders for special tokens in their contents.

    Example:
        >>> len(TextEncoder(model.tokenizer).of_text("<|endoftext|>")) > 1
        True
    """

    def __init__(self, tokenizer: Any) -> None:
        """Wrap a transformers tokenizer."""
        self.tokenizer = tokenizer
        marks = special_tokens(tokenizer)
        self._spellings: tuple[str, ...] = (*marks, _OPEN)
        """Strings to replace by placeholders: spellings of special tokens, and the placeholder's opening mark."""
        self._numbers = {spelling: number for number, spelling in enumerate(self._spellings)}
        # if one spelling is a prefix of another, the longer one must match first
        longest_first = sorted(self._spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        # the unknown token is the only special token that ordinary text may encode to
        self._forbidden = {token: text for text, token in marks.items() if token != tokenizer.unk_token_id}

    def hidden(self, text: str) -> str:
        """Replace each special token spelt in a text by a placeholder."""
        return self._pattern.sub(lambda match: f"{_OPEN}{self._numbers[match[0]]}{_CLOSE}", text)

    def shown(self, text: str) -> str:
        """Restore the text from one with placeholders."""
        return _PLACEHOLDER.sub(lambda match: self._spellings[int(match[1])], text)

    def of_text(self, text: str) -> list[int]:
        """Encode a text without special tokens.

        Raises:
            InputError: this tokenizer still encodes a part of the text as a special token.
        """
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return self._checked(list(encoded["input_ids"]))

    def of_template(self, text: str) -> list[int]:
        """Encode a rendered chat template, with special tokens only where the template wrote them.

        Raises:
            InputError: the contents hold a special token's spelling, which this tokenizer can't encode as text.
        """
        if _OPEN not in text:
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if self._marked is None:
            hidden = _PLACEHOLDER.search(text)
            raise InputError(_unreadable(self._spellings[int(hidden[1])] if hidden else text))
        # split alternates between template text and the numbers of placeholders
        parts = [
            self._spellings[int(part)] if index % 2 else self._marked.with_marks(part)
            for index, part in enumerate(_PLACEHOLDER.split(text))
        ]
        tokens = self._checked(self._marked.encoded("".join(parts)))
        return [self._marked.meaning.get(token, token) for token in tokens]

    def _checked(self, tokens: list[int]) -> list[int]:
        """Return the tokens if none is special. Raises the errors of `of_text`."""
        special = next((self._forbidden[token] for token in tokens if token in self._forbidden), None)
        if special is not None:
            raise InputError(_unreadable(special))
        return tokens

    @cached_property
    def _marked(self) -> "_MarkedTokenizer | None":
        """A marked copy of the tokenizer, made on first use, as copying a large vocabulary takes a second."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            return None
        added = self.tokenizer.added_tokens_decoder.items()
        return _MarkedTokenizer(backend, {number: token for number, token in added if token.special})


class _MarkedTokenizer:
    """A copy of a tokenizer that encodes special tokens as text, and a secret mark for each as that special token.

    Marks have the matching and whitespace-stripping rules of their tokens, so the text between two marks has the same
    tokens as between the special tokens themselves.
    """

    def __init__(self, backend: Tokenizer, special: Mapping[int, AddedToken]) -> None:
        # random, because a text that contained the marks could inject special tokens
        secret = secrets.token_hex(8)
        self._marks = {token.content: f"{_CLOSE}{secret}.{number}{_OPEN}" for number, token in special.items()}
        longest_first = sorted(self._marks, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
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
        """The special token for each mark's token."""

    def with_marks(self, text: str) -> str:
        """Replace each special token in a text by its mark."""
        return self._pattern.sub(lambda match: self._marks[match[0]], text)

    def encoded(self, text: str) -> list[int]:
        """Encode a text, leaving marks untranslated."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)


def _unreadable(spelling: str) -> str:
    return (
        f"{spelling!r}: this model's tokenizer has a special token that is written like that, and reads it even where "
        "it is text. Take it out of the text, or use another model."
    )
