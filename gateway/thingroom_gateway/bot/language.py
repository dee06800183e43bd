"""What people say becomes a request: the one parser of the bot's language.

Pure; may import requests, vocabulary, sentence, words, amounts, conditions. Forgiving: order, articles and punctuation
do not matter where the sense is clear. What is nearly right is suggested and never done. worker.py calls `parse`,
`is_plain_question`.
"""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_gateway.bot import requests as r
from thingroom_gateway.bot.amounts import DAY, MINUTE, UNITS_OF_TIME, number_of, take_span, times_of_day
from thingroom_gateway.bot.conditions import condition_in
from thingroom_gateway.bot.requests import Request, Span, Targets, Unclear
from thingroom_gateway.bot.sentence import Sentence
from thingroom_gateway.bot.vocabulary import (
    MAX_TEXT,
    Token,
    Vocabulary,
    fold,
    longest,
    nearest,
    tokens_of,
)
from thingroom_gateway.bot.words import (
    CONDITION_FILLERS,
    FILLERS,
    KEYWORDS,
    ON_OFF,
    QUESTIONS,
    RATES,
    SYNONYMS,
    VERBS,
)


def parse(text: str, vocabulary: Vocabulary) -> Request | Unclear:
    """The request that `text` is, without the bot's name or "!" before it; never raises."""
    if len(text) > MAX_TEXT:
        return Unclear(why="That is more than I can take in. A few words are enough.")
    tokens = tokens_of(text)
    if not tokens:
        return r.Help() if "?" in text else Unclear()
    request = _Reader(text, tokens, vocabulary).request()
    if not isinstance(request, Unclear):
        return request
    suggestion = _corrected(text, tokens, vocabulary)
    return Unclear(suggestion, request.why if not suggestion else "")


def is_plain_question(text: str, vocabulary: Vocabulary) -> bool:
    """Whether `text` is nothing but the name of a device or quantity and a question mark: "kitchen?"."""
    words = [token.word for token in tokens_of(text)]
    if not text.rstrip().endswith("?") or not 0 < len(words) <= 6 or len(text) > 100:
        return False
    at = 0
    while at < len(words):
        names = (vocabulary.devices, vocabulary.quantities, vocabulary.places)
        step = max(longest(phrases, words, at) for phrases in names)
        if not step:
            return False
        at += step
    return True


def _corrected(text: str, tokens: Sequence[Token], vocabulary: Vocabulary) -> str:
    """`text` with its slips mended, if that makes a request; else an empty text."""
    names = vocabulary.words()
    known = names | set(VERBS) | set(SYNONYMS) | KEYWORDS
    rest = known | CONDITION_FILLERS | set(UNITS_OF_TIME) | set(RATES)
    strange = [token for token in tokens if token.word not in rest and token.word.isalpha() and len(token.word) > 2]
    if not 0 < len(strange) <= 4 or len(tokens) > 16:
        return ""
    mended = text
    for token in reversed(strange):
        better = nearest(token.word, known)
        if better is not None:
            mended = mended[: token.start] + better + mended[token.end :]
    mended = " ".join(mended.split())
    if mended == " ".join(text.split()):
        return ""
    request = _Reader(mended, tokens_of(mended), vocabulary).request()
    return "" if isinstance(request, Unclear | r.Hello | r.Yes | r.No) else mended


class _Reader:
    """Reads one text."""

    def __init__(self, text: str, tokens: Sequence[Token], vocabulary: Vocabulary) -> None:
        self._said = Sentence(text, tokens, vocabulary)

    def request(self) -> Request | Unclear:
        tokens = self._said.tokens
        start = next((at for at, token in enumerate(tokens) if token.word not in FILLERS), 0)
        verb = VERBS.get(tokens[start].word)
        # A name goes before a verb of the same word: a device may be called Switch.
        if verb is not None and not self._said.name_at(start):
            after = tokens[start + 1 :]
            known = getattr(self, f"_{verb}")(after)
            if not isinstance(known, Unclear):
                return known  # type: ignore[no-any-return]
            bare = self._bare()
            return known if isinstance(bare, Unclear) else bare
        if tokens[0].word in ("hi", "hey") and len(tokens) == 1:
            return r.Hello()
        if tokens[0].word == "tell" and any(token.word in ("when", "if") for token in tokens):
            return self._alert(tokens[1:])
        return self._bare()

    # --- requests by their first word --------------------------------------------------------------------------------

    def _help(self, after: list[Token]) -> Request | Unclear:
        topic = next((VERBS[token.word] for token in after if token.word in VERBS), "")
        return r.Help(topic)

    def _hello(self, after: list[Token]) -> Request | Unclear:
        return r.Hello() if len(after) <= 2 else Unclear()

    def _devices(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("alerts", "alarms", "rules"):
            return r.ListAlerts()
        names = self._said.scan(after)
        left = self._said.not_fillers(names.rest, {"devices", "sensors", "things"})
        return Unclear() if left else r.Devices(names.targets)

    def _latest(self, after: list[Token]) -> Request | Unclear:
        names = self._said.scan(after)
        return Unclear() if self._said.not_fillers(names.rest) else r.Latest(names.targets)

    def _spanned(self, after: list[Token]) -> tuple[Targets, Span] | Unclear:
        span, rest = take_span(after)
        names = self._said.scan(rest)
        if left := self._said.not_fillers(names.rest, {"to"}):
            return Unclear(why=f"I do not know {self._said.quoted(left)}.")
        return names.targets, span or Span()

    def _history(self, after: list[Token]) -> Request | Unclear:
        found = self._spanned(after)
        return found if isinstance(found, Unclear) else r.History(*found)

    def _chart(self, after: list[Token]) -> Request | Unclear:
        found = self._spanned(after)
        return found if isinstance(found, Unclear) else r.Chart(*found)

    def _export(self, after: list[Token]) -> Request | Unclear:
        found = self._spanned(after)
        return found if isinstance(found, Unclear) else r.Export(*found)

    def _pair(self, after: list[Token]) -> Request | Unclear:
        words = {token.word for token in after}
        if words & {"stop", "close", "end", "off", "cancel"}:
            return r.EndPairing()
        span, rest = take_span(after)
        if self._said.not_fillers(rest, {"new", "device", "sensor", "on", "open", "start", "board"}):
            return Unclear()
        minutes = 10 if span is None or span.day else max(1, min(60, span.ms // MINUTE))
        return r.Pair(minutes)

    def _move(self, after: list[Token]) -> Request | Unclear:
        found = self._said.device_then_text(after, ("to", "into", "in"))
        why = "Say what and where to: `move kitchen to Bedroom`."
        return Unclear(why=why) if found is None else r.Move(*found)

    def _rename(self, after: list[Token]) -> Request | Unclear:
        found = self._said.device_then_text(after, ("to", "as", "="))
        why = "Say what and its new name: `rename kitchen to Pantry`."
        return Unclear(why=why) if found is None else r.Rename(*found)

    def _revoke(self, after: list[Token]) -> Request | Unclear:
        names = self._said.scan(after)
        if not names.devices or self._said.not_fillers(names.rest, {"device", "sensor"}):
            return Unclear(why="Say which device: `revoke kitchen`.")
        return r.Revoke(tuple(dict.fromkeys(names.devices)))

    def _remove(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("alert", "alarm", "rule"):
            return self._remove_alert(after[1:])
        return self._revoke(after)

    def _remove_alert(self, after: list[Token]) -> Request | Unclear:
        numbers = [token for token in after if token.word.isdecimal() and len(token.word) < 10]
        if len(numbers) == 1 and not self._said.not_fillers([token for token in after if token not in numbers]):
            return r.RemoveAlert(int(numbers[0].word))
        return Unclear(why="Say which by its number, as `alerts` lists them: `remove alert 3`.")

    def _replace(self, after: list[Token]) -> Request | Unclear:
        at = next((i for i, token in enumerate(after) if token.word in ("with", "by", "to")), None)
        if at is not None:
            old, new = self._said.scan(after[:at]), self._said.scan(after[at + 1 :])
            if old.devices and new.devices and not self._said.not_fillers(old.rest + new.rest):
                return r.Replace(tuple(old.devices), tuple(new.devices))
        return Unclear(why="Say which device takes whose place: `replace kitchen with kitchen 2`.")

    def _alerts(self, after: list[Token]) -> Request | Unclear:
        return Unclear() if self._said.not_fillers(self._said.scan(after).rest, {"list"}) else r.ListAlerts()

    def _snooze(self, after: list[Token]) -> Request | Unclear:
        span, rest = take_span(after)
        numbers = [token for token in rest if token.word.isdecimal() and len(token.word) < 10]
        if len(numbers) > 1 or self._said.not_fillers([token for token in rest if token not in numbers], {"alert"}):
            return Unclear(why="Say which and for how long: `snooze 3 2h`.")
        ms = 3_600_000 if span is None or span.day else max(60_000, min(span.ms, 30 * DAY))
        return r.Snooze(int(numbers[0].word) if numbers else 0, ms)

    def _quiet(self, after: list[Token]) -> Request | Unclear:
        words = [token.word for token in after if token.word not in FILLERS and token.word not in ("hours", "to")]
        words = [word for word in words if word not in ("until", "till", "between")]
        if not words:
            return r.ShowQuiet()
        if words[0] in ("off", "none", "never", "stop", "end"):
            return r.EndQuiet()
        times = times_of_day(words)
        if times is None or times[0] == times[1]:
            return Unclear(why="Say from when to when: `quiet hours 22:00 to 7:00`, or `quiet off`.")
        return r.SetQuiet(*times)

    def _live(self, after: list[Token]) -> Request | Unclear:
        names = self._said.scan([token for token in after if token.word not in ON_OFF])
        if self._said.not_fillers(names.rest, {"message", "messages", "mode", "updates", "update"}):
            return Unclear(why="Say `live on`, `live off`, or `live kitchen on`.")
        states = [token.word for token in after if token.word in ON_OFF]
        return r.SetLive(states[0] == "on", names.targets) if len(states) == 1 else r.ShowLive(names.targets)

    def _one(self, after: list[Token]) -> Request | Unclear:
        """ "one message per device"."""
        if not after or after[0].word != "message":
            return Unclear()
        names = self._said.scan(after[1:])
        if self._said.not_fillers(names.rest, {"per", "each", "every", "device", "sensor", "only", "room"}):
            return Unclear()
        return r.SetLive(True, names.targets)

    def _set(self, after: list[Token]) -> Request | Unclear:
        return self._actuate(after, loose=True)

    def _yes(self, after: list[Token]) -> Request | Unclear:
        return r.Yes() if len(after) <= 2 else Unclear()

    def _no(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("alert", "alarm"):
            return self._remove_alert(after[1:])
        return r.No() if len(after) <= 2 else Unclear()

    # --- alerts ------------------------------------------------------------------------------------------------------

    def _alert(self, after: list[Token]) -> Request | Unclear:
        words = [token.word for token in after]
        if not words or words in (["list"], ["show"]):
            return r.ListAlerts()
        if words[0] in ("remove", "delete"):
            return self._remove_alert(after[1:])
        found = condition_in(self._said, after)
        if found is not None:
            return found
        return Unclear(why="Say when: `alert when temperature above 30`, `alert when kitchen is silent for 2h`.")

    # --- without a verb ----------------------------------------------------------------------------------------------

    def _bare(self) -> Request | Unclear:
        asked = self._said.text.rstrip().endswith("?") or self._said.tokens[0].word in QUESTIONS
        command: Request | Unclear = Unclear() if asked else self._actuate(self._said.tokens, loose=False)
        if not isinstance(command, Unclear):
            return command
        span, rest = take_span(self._said.tokens)
        if asked:
            rest = [token for token in rest if token.word not in ON_OFF]
        names = self._said.scan(rest)
        if not names.any or self._said.not_fillers(names.rest, {"status", "state"}):
            return Unclear()
        return r.Latest(names.targets) if span is None else r.History(names.targets, span)

    def _actuate(self, tokens: list[Token], loose: bool) -> Request | Unclear:
        """ "lamp on", "heater 21", "turn off the lamp", "fan eco"; `loose`: the rest is the value, whatever it is."""
        why = "Say what and how: `lamp on`, `set heater 21`."
        edge = [token for token in tokens if token.word in ON_OFF]
        if len(edge) == 1:
            names = self._said.scan([token for token in tokens if token not in edge])
            if (names.devices or names.actuators) and not self._said.not_fillers(names.rest, {"to"}):
                return r.Actuate(names.targets, edge[0].word)
            return Unclear(why=why)
        names = self._said.scan(tokens)
        value = [token for token in names.rest if token.word not in FILLERS and token.word not in ("to", "=")]
        if not (names.devices or names.actuators) or (names.quantities and not names.actuators) or not value:
            return Unclear(why=why)
        number = number_of(value[0].word)
        if number is not None and (len(value) == 1 or (len(value) == 2 and not value[1].word.isalnum()) or loose):
            return r.Actuate(names.targets, number)
        words = tuple(token.word for token in value)
        if words in self._said.vocabulary.options or loose:
            return r.Actuate(names.targets, self._said.text[value[0].start : value[-1].end])
        return Unclear(why=why)


def without_address(text: str, names: Sequence[str]) -> str | None:
    """`text` without "!" or the bot's name before it; None if it is not addressed to the bot.

    `names`: what the bot is called, folded: "thingroom", "@thingroom:home.test".
    """
    stripped = text.strip()
    if stripped.startswith("!"):
        return stripped[1:].lstrip()
    folded = fold(stripped[:200])
    for name in sorted(names, key=len, reverse=True):
        if folded.startswith(name) and not folded[len(name) : len(name) + 1].isalnum():
            return stripped[len(name) :].lstrip(" ,:;-–!")
    return None
