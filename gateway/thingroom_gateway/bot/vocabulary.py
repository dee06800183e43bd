"""The names that a conversation can be about, and words that are nearly right.

Pure; imports the standard library only. names.py fills a Vocabulary with the devices that a person may see; language.py
looks words up here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MAX_TEXT: Final = 2000
MAX_TOKENS: Final = 64
_TOKEN = re.compile(r"[<>]=?|[≥≤=]|-?\d{1,2}:\d{2}|-?\d+(?:[.,]\d+)?|[^\W\d]\w*|[°%]\w*")
Phrase = tuple[str, ...]


class Token(NamedTuple):
    """A word, folded, and where it stands in the text."""

    word: str
    start: int
    end: int


def fold(text: str) -> str:
    """For comparison: no case, no accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def tokens_of(text: str) -> list[Token]:
    """The words of a text, at most MAX_TOKENS of its first MAX_TEXT characters; numbers are apart from their units."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text[:MAX_TEXT]):
        found.append(Token(fold(match.group()), match.start(), match.end()))
        if len(found) == MAX_TOKENS:
            break
    return found


def phrase_of(name: str) -> Phrase:
    """A name as the words that it is found by."""
    return tuple(token.word for token in tokens_of(name))


@dataclass(frozen=True)
class Vocabulary:
    """Phrases and what they mean. A phrase may name several devices; which is meant is then asked."""

    devices: Mapping[Phrase, tuple[int, ...]] = field(default_factory=dict)
    quantities: Mapping[Phrase, str] = field(default_factory=dict)
    actuators: Mapping[Phrase, str] = field(default_factory=dict)
    places: Mapping[Phrase, str] = field(default_factory=dict)
    states: Mapping[Phrase, str] = field(default_factory=dict)
    options: frozenset[Phrase] = frozenset()
    presets: frozenset[str] = frozenset()

    def words(self) -> set[str]:
        """Every word that occurs in a phrase."""
        found: set[str] = set(self.presets)
        for phrases in (self.devices, self.quantities, self.actuators, self.places, self.states, self.options):
            for phrase in phrases:
                found.update(phrase)
        return found


def longest(phrases: Mapping[Phrase, object] | frozenset[Phrase], words: Sequence[str], at: int) -> int:
    """How many of `words` from `at` on are the longest phrase there; 0 if none is."""
    for length in range(min(6, len(words) - at), 0, -1):
        if tuple(words[at : at + length]) in phrases:
            return length
    return 0


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely a slip for, None if none is near."""
    allowed = 1 if len(word) <= 4 else 2
    best: tuple[int, str] | None = None
    letters = set(word)
    for other in known:
        if abs(len(other) - len(word)) > allowed or len(other) < 3 or len(letters ^ set(other)) > 2 * allowed:
            continue
        distance = slips(word, other, allowed)
        if distance is not None and (best is None or (distance, other) < best):
            best = (distance, other)
    return best[1] if best else None


def slips(first: str, second: str, at_most: int) -> int | None:
    """How many letters are wrong, missing, too many or exchanged with a neighbour; None if more than `at_most`."""
    before_last: list[int] = []
    last = list(range(len(second) + 1))
    for row, left in enumerate(first, 1):
        current = [row]
        for column, right in enumerate(second, 1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (left != right))
            if row > 1 and column > 1 and left == second[column - 2] and first[row - 2] == right:
                cost = min(cost, before_last[column - 2] + 1)
            current.append(cost)
        before_last, last = last, current
    return last[-1] if last[-1] <= at_most else None
