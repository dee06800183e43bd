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
    HEARD,
    HELP_PHRASES,
    KEYWORDS,
    ON_OFF,
    PLAIN_UNITS,
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
    reader = _Reader(text, tokens, vocabulary)
    request = reader.request()
    if not isinstance(request, Unclear):
        return request
    suggestion = _corrected(text, tokens, vocabulary)
    if suggestion:
        return Unclear(suggestion)
    return reader.last_resort() or request


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
        words = tuple(token.word for token in tokens)
        if any(words[: len(phrase)] == phrase for phrase in HELP_PHRASES) and not self._said.scan(tokens).any:
            return r.Help()
        if (HEARD & set(words) or words[0] == "where") and self._asked and (found := self._heard_of()):
            return found
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
        thanks = self._said.tokens[0].word in ("thanks", "thx", "thank", "cheers")
        return r.Hello(thanks) if len(after) <= 2 or thanks else Unclear()

    def _devices(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("alerts", "alarms", "rules"):
            return r.ListAlerts()
        names = self._said.scan(after)
        left = self._said.not_fillers(names.rest, {"devices", "sensors", "things"})
        return Unclear() if left else r.Devices(names.targets)

    def _latest(self, after: list[Token]) -> Request | Unclear:
        names = self._said.scan(after)
        fine = {"ok", "okay", "fine", "alright", "good", "well"}
        return Unclear() if self._said.not_fillers(names.rest, fine) else r.Latest(names.targets)

    def _spanned(self, after: list[Token]) -> tuple[Targets, Span] | Unclear:
        span, rest = take_span(after)
        names = self._said.scan(rest)
        if left := self._said.not_fillers(names.rest, {"to", "everything", "csv", "file", "data"}):
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

    def _add(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("a", "an", "new"):
            return self._add(after[1:])
        if after and after[0].word in ("alert", "alarm"):
            return self._alert(after[1:])
        return self._pair(after) if {token.word for token in after} & {"device", "sensor", "board"} else Unclear()

    def _stop(self, after: list[Token]) -> Request | Unclear:
        words = {token.word for token in after}
        if "pairing" in words:
            return r.EndPairing()
        if words & {"quiet", "silence"}:
            return r.EndQuiet()
        if "live" in words:
            return r.SetLive(False, self._said.scan([token for token in after if token.word != "live"]).targets)
        if words & {"alert", "alerts", "alarm", "alarms"}:
            numbers = [token for token in after if token.word.isdecimal() and len(token.word) < 10]
            why = "`remove alert 3` ends one (`alerts` lists them), `quiet hours 22:00 to 7:00` makes all of them wait."
            return r.RemoveAlert(int(numbers[0].word)) if len(numbers) == 1 else Unclear(why=why)
        return Unclear()

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
        names = self._said.scan(after)
        words = [token.word for token in names.rest if token.word not in FILLERS]
        words = [word for word in words if word not in ("hours", "to", "until", "till", "between")]
        if not words:
            return r.ShowQuiet()
        if words[0] in ("off", "none", "never", "stop", "end"):
            return r.EndQuiet(names.targets)
        times = times_of_day(words)
        if times is None or times[0] == times[1]:
            return Unclear(why="Say from when to when: `quiet hours 22:00 to 7:00`, or `quiet off`.")
        return r.SetQuiet(*times, names.targets)

    def _live(self, after: list[Token]) -> Request | Unclear:
        names = self._said.scan([token for token in after if token.word not in ON_OFF])
        if self._said.not_fillers(names.rest, {"message", "messages", "mode", "updates", "update"}):
            return Unclear(why="Say `live on`, `live off`, or `live kitchen on`.")
        states = [token.word for token in after if token.word in ON_OFF]
        return r.SetLive(ON_OFF[states[0]] == "on", names.targets) if len(states) == 1 else r.ShowLive(names.targets)

    def _one(self, after: list[Token]) -> Request | Unclear:
        """ "one message per device"."""
        if not after or after[0].word != "message":
            return Unclear()
        names = self._said.scan(after[1:])
        if self._said.not_fillers(names.rest, {"per", "each", "every", "device", "sensor", "only", "room"}):
            return Unclear()
        return r.SetLive(True, names.targets)

    def _set(self, after: list[Token]) -> Request | Unclear:
        moved = self._said.device_then_text(after, ("into", "in")) if self._said.tokens[0].word == "put" else None
        return r.Move(*moved) if moved is not None else self._actuate(after, loose=True)

    def _yes(self, after: list[Token]) -> Request | Unclear:
        return r.Yes() if len(after) <= 2 else Unclear()

    def _no(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("alert", "alarm"):
            return self._remove_alert(after[1:])
        return r.No() if len(after) <= 2 else Unclear()

    def _option_at(self, token: Token) -> bool:
        """Whether a word like "off" is an option of something here, and no more than that."""
        return token.word not in ("on", "off") and (token.word,) in self._said.vocabulary.options

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

    # --- without a verb, or beyond what is clear ---------------------------------------------------------------------

    @property
    def _asked(self) -> bool:
        return self._said.text.rstrip().endswith("?") or self._said.tokens[0].word in QUESTIONS

    def _heard_of(self) -> Request | None:
        """ "when did you last hear from the garden?" """
        names = self._said.scan([token for token in self._said.tokens if token.word not in HEARD])
        left = self._said.not_fillers(names.rest, {"when", "time", "still", "where"})
        return None if left or names.quantities else r.Devices(names.targets)

    def last_resort(self) -> Request | None:
        """What is most likely meant where some words say nothing: values are asked for, or a thing is not here."""
        said = self._said
        verb = next((VERBS[token.word] for token in said.tokens if token.word in VERBS), "")
        if len(said.tokens) > 10:
            return None
        if not self._asked and verb in ("", "set", "latest") and (missing := self._missing(verb == "set")):
            return missing
        if verb in ("chart", "history", "export"):
            # "the humidity of the kitchen as a chart"
            asked_for = [token for token in said.tokens if VERBS.get(token.word) != verb]
            found: Request | Unclear = getattr(self, f"_{verb}")(asked_for)
            return None if isinstance(found, Unclear) else found
        verb = "" if self._asked and verb == "set" else verb
        span, rest = take_span(said.tokens)
        names = said.scan(rest)
        if verb or not names.any or len(said.not_fillers(names.rest)) > 3:
            return None
        return r.Latest(names.targets) if span is None else r.History(names.targets, span)

    def _missing(self, told: bool) -> Request | None:
        """ "lamp on" where there is no lamp. `told`: with a verb like "turn" or "set"."""
        said = self._said
        states = [token for token in said.tokens if token.word in ON_OFF]
        others = [token for token in said.tokens if token not in states and VERBS.get(token.word) != "set"]
        names = said.scan(others)
        left = said.not_fillers(names.rest, {"to", "up", "down"} | PLAIN_UNITS)
        numbers = [token for token in left if number_of(token.word) is not None]
        unknown = [token for token in left if token not in numbers]
        if names.actuators and len(unknown) == 1 and not states and not numbers:
            # "plug toggle": what it can do is said instead.
            return r.Actuate(names.targets, said.text[unknown[0].start : unknown[0].end][:40])
        if names.devices or names.actuators or not 0 < len(unknown) <= 4 or len(states) + len(numbers) > 1:
            return None
        if not (told or states or (numbers and numbers[0] is left[-1])):
            return None
        value = ON_OFF[states[0].word] if states else numbers[0].word if numbers else ""
        return r.Actuate(names.targets, value, said.text[unknown[0].start : unknown[-1].end][:60])

    def _bare(self) -> Request | Unclear:
        asked = self._asked
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
        edge = [token for token in tokens if token.word in ON_OFF and not self._option_at(token)]
        if not edge and tokens and tokens[-1].word == "an":
            # No article stands at the end: it is German.
            edge = [tokens[-1]]
        if len(edge) == 1:
            names = self._said.scan([token for token in tokens if token not in edge])
            if (names.devices or names.actuators) and not self._said.not_fillers(names.rest, {"to"}):
                return r.Actuate(names.targets, ON_OFF.get(edge[0].word, "on"))
            return Unclear(why=why)
        names = self._said.scan(tokens)
        value = [token for token in names.rest if token.word not in FILLERS and token.word not in ("to", "=")]
        settable = bool(names.devices or names.actuators)
        if names.quantities and not names.actuators:
            settable = loose and any(number_of(token.word) is not None for token in value)
        if not settable or not value:
            return Unclear(why=why)
        number = number_of(value[0].word)
        unit = [token.word for token in value[1:]]
        if number is not None and (set(unit) <= PLAIN_UNITS or not any(word.isalnum() for word in unit)):
            return r.Actuate(names.targets, number)
        if number is not None and (loose or len(unit) == 1):
            return r.Actuate(names.targets, f"{number} {self._said.text[value[1].start : value[-1].end]}")
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
