"""When to alert, as people say it: thresholds, changes, silence, batteries, states.

Pure; may import requests, sentence, words, amounts. language.py asks `condition_in` for what comes after "alert".
"""

from __future__ import annotations

from thingroom_gateway.bot import requests as r
from thingroom_gateway.bot.amounts import number_of, take_hysteresis, take_span
from thingroom_gateway.bot.requests import Condition, Request, Targets
from thingroom_gateway.bot.sentence import Sentence, joined
from thingroom_gateway.bot.vocabulary import Token, longest
from thingroom_gateway.bot.words import COMPARATORS, IMPLIED, ON_OFF, RATES, SILENT


def condition_in(said: Sentence, after: list[Token]) -> Request | None:
    """The alert that `after` asks for, or what it says of a preset; None if it is neither."""
    for read in (preset_in, _rate, _silence, _threshold, _battery, _truth):
        found = read(said, after)
        if found is not None:
            return found
    return None


def preset_in(said: Sentence, after: list[Token]) -> Request | None:
    named = [token for token in after if token.word in said.vocabulary.presets]
    others = [token for token in after if token not in named]
    if len(named) != 1:
        return None
    names = said.scan([token for token in others if token.word not in ON_OFF])
    if said.not_condition(names.rest):
        return None
    return r.SetPreset(named[0].word, all(ON_OFF.get(token.word) != "off" for token in others), names.targets)


def _rate(said: Sentence, after: list[Token]) -> Request | None:
    at = next((i for i, token in enumerate(after) if token.word in RATES), None)
    if at is None:
        return None
    number = next((i for i in range(at + 1, len(after)) if number_of(after[i].word) is not None), None)
    if number is None or any(
        COMPARATORS.get((after[i].word,)) is not None and after[i].word != "over" for i in range(at, number)
    ):
        return None
    span, rest = take_span(after[number + 1 :])
    if span is None or span.day:
        return None
    names = said.scan(after[:at])
    unit, later = said.unit(rest)
    more = said.scan(later)
    if said.not_condition(names.rest + more.rest) or not (names.any or more.any):
        return None
    value = number_of(after[number].word)
    assert value is not None
    condition = Condition("rate", value.removeprefix("-"), unit, within_ms=span.ms, direction=RATES[after[at].word])
    return r.AddAlert(joined(names, more), condition)


def _silence(said: Sentence, after: list[Token]) -> Request | None:
    at = next((i for i, token in enumerate(after) if token.word in SILENT), None)
    if at is None:
        return None
    span, rest = take_span(after[at + 1 :])
    names = said.scan(after[:at] + rest)
    if said.not_condition(names.rest) or (span is not None and span.day):
        return None
    return r.AddAlert(names.targets, Condition("silence", within_ms=0 if span is None else span.ms))


def _threshold(said: Sentence, after: list[Token]) -> Request | None:
    words = [token.word for token in after]
    for at in range(len(after)):
        length = longest(COMPARATORS, words, at)
        number = number_of(words[at + length]) if length and at + length < len(words) else None
        if number is None:
            continue
        names = said.scan(after[:at])
        hysteresis, tail = take_hysteresis(after[at + length + 1 :])
        unit, later = said.unit(tail)
        more = said.scan(later)
        bare = words[at] in IMPLIED or names.any or more.any
        if said.not_condition(names.rest + more.rest) or not bare:
            return None
        kind = COMPARATORS[tuple(words[at : at + length])]
        implied = said.vocabulary.quantities.get((IMPLIED.get(words[at], ""),))
        if implied is not None and not names.quantities and not more.quantities:
            names.quantities.append(implied)
        return r.AddAlert(joined(names, more), Condition(kind, number, unit, hysteresis))
    return None


def _battery(said: Sentence, after: list[Token]) -> Request | None:
    words = {token.word for token in after}
    if not words & {"battery", "batteries"} or not words & {"low", "empty", "flat"}:
        return None
    names = said.scan([token for token in after if token.word not in ("low", "empty", "flat")])
    if said.not_condition([token for token in names.rest if token.word not in ("battery", "batteries")]):
        return None
    targets = Targets(tuple(dict.fromkeys(names.devices)), (), (), tuple(dict.fromkeys(names.places)))
    return r.AddAlert(targets, Condition("battery"))


def _truth(said: Sentence, after: list[Token]) -> Request | None:
    words = [token.word for token in after]
    state, kept, at = "", [], 0
    while at < len(after):
        step = 0 if said.name_at_words(words, at) else longest(said.vocabulary.states, words, at)
        if step:
            state = said.vocabulary.states[tuple(words[at : at + step])]
            at += step
        else:
            kept.append(after[at])
            at += 1
    names = said.scan([token for token in kept if token.word not in ("not", "no")])
    if not names.quantities or said.not_condition(names.rest):
        return None
    return r.AddAlert(names.targets, Condition("is", state or "true"))
