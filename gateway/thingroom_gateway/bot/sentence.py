"""One thing that somebody said, and the names that are found in it.

Pure; may import requests, vocabulary, words. language.py and conditions.py read it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from thingroom_gateway.bot.requests import Targets
from thingroom_gateway.bot.vocabulary import Token, Vocabulary, longest
from thingroom_gateway.bot.words import CONDITION_FILLERS, FILLERS, SYNONYMS


@dataclass
class Names:
    """What a scan found, and the tokens that are no names, by their position."""

    devices: list[int] = field(default_factory=list)
    quantities: list[str] = field(default_factory=list)
    actuators: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    rest: list[Token] = field(default_factory=list)

    @property
    def targets(self) -> Targets:
        unique = dict.fromkeys
        return Targets(
            tuple(unique(self.devices)),
            tuple(unique(self.quantities)),
            tuple(unique(self.actuators)),
            tuple(unique(self.places)),
        )

    @property
    def any(self) -> bool:
        return bool(self.devices or self.quantities or self.actuators or self.places)


class Sentence:
    """A text, its tokens, and the vocabulary to read it with."""

    def __init__(self, text: str, tokens: Sequence[Token], vocabulary: Vocabulary) -> None:
        self.text = text
        self.vocabulary = vocabulary
        known = vocabulary.words()
        self.tokens = [_singular(token, known) for token in tokens]

    def name_at(self, at: int) -> bool:
        return self.name_at_words([token.word for token in self.tokens], at)

    def name_at_words(self, words: Sequence[str], at: int) -> bool:
        known = self.vocabulary
        return bool(
            longest(known.devices, words, at)
            or longest(known.actuators, words, at)
            or longest(known.quantities, words, at)
        )

    def scan(self, tokens: Sequence[Token]) -> Names:
        """Names in `tokens`, the longest first; devices before actuators, quantities and places."""
        words = [token.word for token in tokens]
        known, found, at = self.vocabulary, Names(), 0
        while at < len(words):
            lengths = [longest(names, words, at) for names in (known.devices, known.actuators, known.quantities)]
            in_places = longest(known.places, words, at)
            length = max(*lengths, in_places)
            if not length:
                synonym = SYNONYMS.get(words[at])
                quantity = known.quantities.get((synonym,)) if synonym else None
                if quantity is not None:
                    found.quantities.append(quantity)
                else:
                    found.rest.append(tokens[at])
                at += 1
                continue
            phrase = tuple(words[at : at + length])
            if phrase in known.devices:
                found.devices.extend(known.devices[phrase])
            if phrase in known.actuators:
                found.actuators.append(known.actuators[phrase])
            if phrase in known.quantities:
                found.quantities.append(known.quantities[phrase])
            if phrase in known.places and phrase not in known.devices:
                found.places.append(known.places[phrase])
            at += length
        return found

    def device_then_text(self, after: list[Token], separators: tuple[str, ...]) -> tuple[tuple[int, ...], str] | None:
        """Devices, a separator, and the rest of the text as it was written."""
        words = [token.word for token in after]
        at = 0
        while at < len(words) and words[at] in FILLERS and not longest(self.vocabulary.devices, words, at):
            at += 1
        length = longest(self.vocabulary.devices, words, at)
        if not length:
            return None
        devices = self.vocabulary.devices[tuple(words[at : at + length])]
        at += length
        if at < len(words) and words[at] in separators:
            at += 1
        while at < len(words) - 1 and words[at] == "the":
            at += 1
        if at >= len(words):
            return None
        text = " ".join(self.text[after[at].start :].split()).strip("\"'“”‘’`. ")
        return (devices, text) if text else None

    def unit(self, tokens: list[Token]) -> tuple[str, list[Token]]:
        """The unit after a number, as it was written, and what comes after it."""
        if not tokens or tokens[0].word in CONDITION_FILLERS or self.name_at_words([t.word for t in tokens], 0):
            return "", tokens
        if longest(self.vocabulary.places, [token.word for token in tokens], 0):
            return "", tokens
        first = tokens[0]
        end = first.end
        while end < len(self.text) and not self.text[end].isspace() and self.text[end] not in ",;.?!":
            end += 1
        unit = self.text[first.start : end]
        return unit, [token for token in tokens if token.start >= end]

    def not_fillers(self, tokens: Sequence[Token], also: set[str] | frozenset[str] = frozenset()) -> list[Token]:
        return [token for token in tokens if token.word not in FILLERS and token.word not in also]

    def not_condition(self, tokens: Sequence[Token]) -> list[Token]:
        return [token for token in tokens if token.word not in CONDITION_FILLERS]

    def quoted(self, tokens: Sequence[Token]) -> str:
        return " ".join(f"“{self.text[token.start : token.end][:40]}”" for token in tokens[:3])


def _singular(token: Token, known: Set[str]) -> Token:
    """ "lights" is "light", and "opens" is "open", where only that is known."""
    word = token.word
    if len(word) > 3 and word.endswith("s") and word not in known and word[:-1] in known:
        return token._replace(word=word[:-1])
    return token


def joined(first: Names, second: Names) -> Targets:
    return Names(
        first.devices + second.devices,
        first.quantities + second.quantities,
        first.actuators + second.actuators,
        first.places + second.places,
    ).targets
