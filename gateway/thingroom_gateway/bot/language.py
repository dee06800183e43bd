"""What people say becomes a request: the one parser of the bot's language.

Pure; may import requests, vocabulary. Forgiving: order, articles and punctuation do not matter where the sense is
clear. What is nearly right is suggested and never done. worker.py calls `parse`, `is_plain_question`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from thingroom_gateway.bot import requests as r
from thingroom_gateway.bot.requests import Condition, Request, Span, Targets, Unclear
from thingroom_gateway.bot.vocabulary import (
    MAX_TEXT,
    Phrase,
    Token,
    Vocabulary,
    fold,
    longest,
    nearest,
    tokens_of,
)

_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000
MAX_SPAN_MS: Final = 20 * 366 * _DAY
_UNITS_OF_TIME: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), _HOUR),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 7 * _DAY),
    **dict.fromkeys(("mo", "month", "months"), 30 * _DAY),
    **dict.fromkeys(("y", "yr", "year", "years"), 365 * _DAY),
}
_FILLERS: Final = frozenset(
    "the of in at my our please me for is it its what whats s are how a an and now current currently right give get"  # noqa: SIM905
    " show tell about from there by with us do does did was were as per last past since over this that many much hi hey"
    " latest value values reading readings all like".split()
)
_VERBS: Final = {
    **dict.fromkeys(("help", "commands", "usage", "?"), "help"),
    **dict.fromkeys(("hi", "hello", "hey", "moin", "thanks", "thx"), "hello"),
    **dict.fromkeys(("devices", "device", "sensors", "things", "list"), "devices"),
    **dict.fromkeys(("latest", "values", "value", "status", "state", "now", "read", "reading", "readings"), "latest"),
    **dict.fromkeys(("history", "log", "table"), "history"),
    **dict.fromkeys(("chart", "charts", "plot", "graph", "diagram", "draw"), "chart"),
    **dict.fromkeys(("export", "csv", "download"), "export"),
    **dict.fromkeys(("pair", "pairing"), "pair"),
    **dict.fromkeys(("move", "place", "put"), "move"),
    **dict.fromkeys(("rename", "call"), "rename"),
    **dict.fromkeys(("revoke", "forget"), "revoke"),
    **dict.fromkeys(("remove", "delete"), "remove"),
    **dict.fromkeys(("replace",), "replace"),
    **dict.fromkeys(("alert", "alarm", "warn", "notify", "remind"), "alert"),
    **dict.fromkeys(("alerts", "alarms", "rules"), "alerts"),
    **dict.fromkeys(("snooze", "later"), "snooze"),
    **dict.fromkeys(("quiet", "mute"), "quiet"),
    **dict.fromkeys(("set", "turn", "switch", "dim"), "set"),
    **dict.fromkeys(("yes", "y", "ok", "okay", "confirm", "yep"), "yes"),
    **dict.fromkeys(("no", "n", "cancel", "nope", "abort"), "no"),
}
# People's words for quantities that profiles call otherwise.
_SYNONYMS: Final = {
    **dict.fromkeys(("temp", "temps", "temperatures", "warm", "hot", "cold", "heat"), "temperature"),
    **dict.fromkeys(("humid", "damp", "rh"), "humidity"),
    **dict.fromkeys(("batteries", "batt", "charge"), "battery"),
    **dict.fromkeys(("wet", "dry"), "moisture"),
    **dict.fromkeys(("bright", "dark", "light", "brightness", "lux"), "illuminance"),
}
_COMPARATORS: Final[dict[Phrase, Literal["above", "below"]]] = {
    ("above",): "above",
    ("over",): "above",
    (">",): "above",
    (">=",): "above",
    ("≥",): "above",
    ("more", "than"): "above",
    ("higher", "than"): "above",
    ("greater", "than"): "above",
    ("warmer", "than"): "above",
    ("hotter", "than"): "above",
    ("exceeds",): "above",
    ("below",): "below",
    ("under",): "below",
    ("<",): "below",
    ("<=",): "below",
    ("≤",): "below",
    ("less", "than"): "below",
    ("lower", "than"): "below",
    ("colder", "than"): "below",
    ("cooler", "than"): "below",
}
_RATES: Final[dict[str, Literal["up", "down", "either"]]] = {
    **dict.fromkeys(("rises", "rise", "climbs", "jumps", "increases", "grows"), "up"),
    **dict.fromkeys(("falls", "fall", "drops", "drop", "decreases", "sinks"), "down"),
    **dict.fromkeys(("changes", "change", "varies", "moves"), "either"),
}
_SILENT: Final = frozenset(("silent", "silence", "offline", "gone", "missing", "unreachable", "unheard"))
_CONDITION_FILLERS: Final = _FILLERS | frozenset(
    "when if within goes gets whenever becomes turns on by than more once rises falls drops climbs".split()  # noqa: SIM905
)
_ON_OFF: Final = frozenset(("on", "off"))
_QUESTIONS: Final = frozenset("is are was were what whats how does did do why".split())  # noqa: SIM905
_KEYWORDS: Final = frozenset(
    "above below over under hours hour days week month year today yesterday when rises falls silent battery low"  # noqa: SIM905
    " hysteresis off within".split()
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
    known = names | set(_VERBS) | set(_SYNONYMS) | _KEYWORDS
    rest = known | _CONDITION_FILLERS | set(_UNITS_OF_TIME) | set(_RATES)
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


@dataclass
class _Names:
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


class _Reader:
    """Reads one text."""

    def __init__(self, text: str, tokens: Sequence[Token], vocabulary: Vocabulary) -> None:
        self._text = text
        self._tokens = list(tokens)
        self._vocabulary = vocabulary

    def request(self) -> Request | Unclear:
        tokens = self._tokens
        start = next((at for at, token in enumerate(tokens) if token.word not in _FILLERS), 0)
        verb = _VERBS.get(tokens[start].word)
        # A name goes before a verb of the same word: a device may be called Switch.
        if verb is not None and not self._name_at(start):
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
        topic = next((_VERBS[token.word] for token in after if token.word in _VERBS), "")
        return r.Help(topic)

    def _hello(self, after: list[Token]) -> Request | Unclear:
        return r.Hello() if len(after) <= 2 else Unclear()

    def _devices(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("alerts", "alarms", "rules"):
            return r.ListAlerts()
        names = self._scan(after)
        left = self._not_fillers(names.rest, {"devices", "sensors", "things"})
        return Unclear() if left else r.Devices(names.targets)

    def _latest(self, after: list[Token]) -> Request | Unclear:
        names = self._scan(after)
        return Unclear() if self._not_fillers(names.rest) else r.Latest(names.targets)

    def _spanned(self, after: list[Token]) -> tuple[Targets, Span] | Unclear:
        span, rest = _take_span(after)
        names = self._scan(rest)
        if left := self._not_fillers(names.rest, {"to"}):
            return Unclear(why=f"I do not know {self._quoted(left)}.")
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
        span, rest = _take_span(after)
        if self._not_fillers(rest, {"new", "device", "sensor", "on", "open", "start", "board"}):
            return Unclear()
        minutes = 10 if span is None or span.day else max(1, min(60, span.ms // _MINUTE))
        return r.Pair(minutes)

    def _move(self, after: list[Token]) -> Request | Unclear:
        found = self._device_then_text(after, ("to", "into", "in"))
        why = "Say what and where to: `move kitchen to Bedroom`."
        return Unclear(why=why) if found is None else r.Move(*found)

    def _rename(self, after: list[Token]) -> Request | Unclear:
        found = self._device_then_text(after, ("to", "as", "="))
        why = "Say what and its new name: `rename kitchen to Pantry`."
        return Unclear(why=why) if found is None else r.Rename(*found)

    def _revoke(self, after: list[Token]) -> Request | Unclear:
        names = self._scan(after)
        if not names.devices or self._not_fillers(names.rest, {"device", "sensor"}):
            return Unclear(why="Say which device: `revoke kitchen`.")
        return r.Revoke(tuple(dict.fromkeys(names.devices)))

    def _remove(self, after: list[Token]) -> Request | Unclear:
        if after and after[0].word in ("alert", "alarm", "rule"):
            return self._remove_alert(after[1:])
        return self._revoke(after)

    def _remove_alert(self, after: list[Token]) -> Request | Unclear:
        numbers = [token for token in after if token.word.isdecimal() and len(token.word) < 10]
        if len(numbers) == 1 and not self._not_fillers([token for token in after if token not in numbers]):
            return r.RemoveAlert(int(numbers[0].word))
        return Unclear(why="Say which by its number, as `alerts` lists them: `remove alert 3`.")

    def _replace(self, after: list[Token]) -> Request | Unclear:
        at = next((i for i, token in enumerate(after) if token.word in ("with", "by", "to")), None)
        if at is not None:
            old, new = self._scan(after[:at]), self._scan(after[at + 1 :])
            if old.devices and new.devices and not self._not_fillers(old.rest + new.rest):
                return r.Replace(tuple(old.devices), tuple(new.devices))
        return Unclear(why="Say which device takes whose place: `replace kitchen with kitchen 2`.")

    def _alerts(self, after: list[Token]) -> Request | Unclear:
        return Unclear() if self._not_fillers(self._scan(after).rest, {"list"}) else r.ListAlerts()

    def _snooze(self, after: list[Token]) -> Request | Unclear:
        span, rest = _take_span(after)
        numbers = [token for token in rest if token.word.isdecimal() and len(token.word) < 10]
        if len(numbers) > 1 or self._not_fillers([token for token in rest if token not in numbers], {"alert"}):
            return Unclear(why="Say which and for how long: `snooze 3 2h`.")
        ms = 3_600_000 if span is None or span.day else max(60_000, min(span.ms, 30 * _DAY))
        return r.Snooze(int(numbers[0].word) if numbers else 0, ms)

    def _quiet(self, after: list[Token]) -> Request | Unclear:
        words = [token.word for token in after if token.word not in _FILLERS and token.word not in ("hours", "to")]
        words = [word for word in words if word not in ("until", "till", "between")]
        if not words:
            return r.ShowQuiet()
        if words[0] in ("off", "none", "never", "stop", "end"):
            return r.EndQuiet()
        times = _times_of_day(words)
        if times is None or times[0] == times[1]:
            return Unclear(why="Say from when to when: `quiet hours 22:00 to 7:00`, or `quiet off`.")
        return r.SetQuiet(*times)

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
        preset = self._preset(after)
        if preset is not None:
            return preset
        for read in (self._rate, self._silence, self._threshold, self._battery, self._truth):
            found = read(after)
            if found is not None:
                return found
        return Unclear(why="Say when: `alert when temperature above 30`, `alert when kitchen is silent for 2h`.")

    def _preset(self, after: list[Token]) -> Request | None:
        named = [token for token in after if token.word in self._vocabulary.presets]
        others = [token for token in after if token not in named]
        if len(named) != 1:
            return None
        names = self._scan([token for token in others if token.word not in _ON_OFF])
        if self._not_fillers(names.rest):
            return None
        return r.SetPreset(named[0].word, all(token.word != "off" for token in others), names.targets)

    def _rate(self, after: list[Token]) -> Request | None:
        at = next((i for i, token in enumerate(after) if token.word in _RATES), None)
        if at is None:
            return None
        number = next((i for i in range(at + 1, len(after)) if _number(after[i].word) is not None), None)
        if number is None or any(
            _COMPARATORS.get((after[i].word,)) is not None and after[i].word != "over" for i in range(at, number)
        ):
            return None
        span, rest = _take_span(after[number + 1 :])
        if span is None or span.day:
            return None
        names = self._scan(after[:at])
        unit, later = self._unit(rest)
        more = self._scan(later)
        if self._not_condition(names.rest + more.rest) or not (names.any or more.any):
            return None
        value = _number(after[number].word)
        assert value is not None
        condition = Condition(
            "rate", value.removeprefix("-"), unit, within_ms=span.ms, direction=_RATES[after[at].word]
        )
        return r.AddAlert(_joined(names, more), condition)

    def _silence(self, after: list[Token]) -> Request | None:
        at = next((i for i, token in enumerate(after) if token.word in _SILENT), None)
        if at is None:
            return None
        span, rest = _take_span(after[at + 1 :])
        names = self._scan(after[:at] + rest)
        if self._not_condition(names.rest) or (span is not None and span.day):
            return None
        return r.AddAlert(names.targets, Condition("silence", within_ms=0 if span is None else span.ms))

    def _threshold(self, after: list[Token]) -> Request | None:
        words = [token.word for token in after]
        for at in range(len(after)):
            length = longest(_COMPARATORS, words, at)
            number = _number(words[at + length]) if length and at + length < len(words) else None
            if number is None:
                continue
            names = self._scan(after[:at])
            hysteresis, tail = _take_hysteresis(after[at + length + 1 :])
            unit, later = self._unit(tail)
            more = self._scan(later)
            if self._not_condition(names.rest + more.rest) or not (names.any or more.any):
                return None
            kind = _COMPARATORS[tuple(words[at : at + length])]
            return r.AddAlert(_joined(names, more), Condition(kind, number, unit, hysteresis))
        return None

    def _battery(self, after: list[Token]) -> Request | None:
        words = {token.word for token in after}
        if not words & {"battery", "batteries"} or not words & {"low", "empty", "flat"}:
            return None
        names = self._scan([token for token in after if token.word not in ("low", "empty", "flat")])
        if self._not_condition([token for token in names.rest if token.word not in ("battery", "batteries")]):
            return None
        targets = Targets(tuple(dict.fromkeys(names.devices)), (), (), tuple(dict.fromkeys(names.places)))
        return r.AddAlert(targets, Condition("battery"))

    def _truth(self, after: list[Token]) -> Request | None:
        words = [token.word for token in after]
        state, kept, at = "", [], 0
        while at < len(after):
            step = 0 if self._name_at_words(words, at) else longest(self._vocabulary.states, words, at)
            if step:
                state = self._vocabulary.states[tuple(words[at : at + step])]
                at += step
            else:
                kept.append(after[at])
                at += 1
        names = self._scan([token for token in kept if token.word not in ("not", "no")])
        if not names.quantities or self._not_condition(names.rest):
            return None
        return r.AddAlert(names.targets, Condition("is", state or "true"))

    # --- without a verb ----------------------------------------------------------------------------------------------

    def _bare(self) -> Request | Unclear:
        asked = self._text.rstrip().endswith("?") or self._tokens[0].word in _QUESTIONS
        command: Request | Unclear = Unclear() if asked else self._actuate(self._tokens, loose=False)
        if not isinstance(command, Unclear):
            return command
        span, rest = _take_span(self._tokens)
        if asked:
            rest = [token for token in rest if token.word not in _ON_OFF]
        names = self._scan(rest)
        if not names.any or self._not_fillers(names.rest, {"status", "state"}):
            return Unclear()
        return r.Latest(names.targets) if span is None else r.History(names.targets, span)

    def _actuate(self, tokens: list[Token], loose: bool) -> Request | Unclear:
        """ "lamp on", "heater 21", "turn off the lamp", "fan eco"; `loose`: the rest is the value, whatever it is."""
        why = "Say what and how: `lamp on`, `set heater 21`."
        edge = [token for token in tokens if token.word in _ON_OFF]
        if len(edge) == 1:
            names = self._scan([token for token in tokens if token not in edge])
            if (names.devices or names.actuators) and not self._not_fillers(names.rest, {"to"}):
                return r.Actuate(names.targets, edge[0].word)
            return Unclear(why=why)
        names = self._scan(tokens)
        value = [token for token in names.rest if token.word not in _FILLERS and token.word not in ("to", "=")]
        if not (names.devices or names.actuators) or (names.quantities and not names.actuators) or not value:
            return Unclear(why=why)
        number = _number(value[0].word)
        if number is not None and (len(value) == 1 or (len(value) == 2 and not value[1].word.isalnum()) or loose):
            return r.Actuate(names.targets, number)
        words = tuple(token.word for token in value)
        if words in self._vocabulary.options or loose:
            return r.Actuate(names.targets, self._text[value[0].start : value[-1].end])
        return Unclear(why=why)

    # --- help ----------------------------------------------------------------------------------------------------

    def _name_at(self, at: int) -> bool:
        return self._name_at_words([token.word for token in self._tokens], at)

    def _name_at_words(self, words: Sequence[str], at: int) -> bool:
        known = self._vocabulary
        return bool(
            longest(known.devices, words, at)
            or longest(known.actuators, words, at)
            or longest(known.quantities, words, at)
        )

    def _scan(self, tokens: Sequence[Token]) -> _Names:
        """Names in `tokens`, the longest first; devices before actuators, quantities and places."""
        words = [token.word for token in tokens]
        known, found, at = self._vocabulary, _Names(), 0
        while at < len(words):
            lengths = [longest(names, words, at) for names in (known.devices, known.actuators, known.quantities)]
            in_places = longest(known.places, words, at)
            length = max(*lengths, in_places)
            if not length:
                synonym = _SYNONYMS.get(words[at])
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

    def _device_then_text(self, after: list[Token], separators: tuple[str, ...]) -> tuple[tuple[int, ...], str] | None:
        """Devices, a separator, and the rest of the text as it was written."""
        words = [token.word for token in after]
        at = 0
        while at < len(words) and words[at] in _FILLERS and not longest(self._vocabulary.devices, words, at):
            at += 1
        length = longest(self._vocabulary.devices, words, at)
        if not length:
            return None
        devices = self._vocabulary.devices[tuple(words[at : at + length])]
        at += length
        if at < len(words) and words[at] in separators:
            at += 1
        while at < len(words) - 1 and words[at] == "the":
            at += 1
        if at >= len(words):
            return None
        text = " ".join(self._text[after[at].start :].split()).strip("\"'“”‘’`. ")
        return (devices, text) if text else None

    def _unit(self, tokens: list[Token]) -> tuple[str, list[Token]]:
        """The unit after a number, as it was written, and what comes after it."""
        if not tokens or tokens[0].word in _CONDITION_FILLERS or self._name_at_words([t.word for t in tokens], 0):
            return "", tokens
        if longest(self._vocabulary.places, [token.word for token in tokens], 0):
            return "", tokens
        first = tokens[0]
        end = first.end
        while end < len(self._text) and not self._text[end].isspace() and self._text[end] not in ",;.?!":
            end += 1
        unit = self._text[first.start : end]
        return unit, [token for token in tokens if token.start >= end]

    def _not_fillers(self, tokens: Sequence[Token], also: set[str] | frozenset[str] = frozenset()) -> list[Token]:
        return [token for token in tokens if token.word not in _FILLERS and token.word not in also]

    def _not_condition(self, tokens: Sequence[Token]) -> list[Token]:
        return [token for token in tokens if token.word not in _CONDITION_FILLERS]

    def _quoted(self, tokens: Sequence[Token]) -> str:
        return " ".join(f"“{self._text[token.start : token.end][:40]}”" for token in tokens[:3])


def _joined(first: _Names, second: _Names) -> Targets:
    return _Names(
        first.devices + second.devices,
        first.quantities + second.quantities,
        first.actuators + second.actuators,
        first.places + second.places,
    ).targets


def _number(word: str) -> str | None:
    """A decimal as text, None if `word` is none or too long."""
    text = word.replace(",", ".")
    digits = text.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 15:
        return None
    return text


def _take_span(tokens: Sequence[Token]) -> tuple[Span | None, list[Token]]:
    """The last stretch of time in `tokens` ("24h", "2 weeks", "yesterday", "week"), and the others."""
    for at in range(len(tokens) - 1, -1, -1):
        word = tokens[at].word
        if word in ("today", "yesterday"):
            return Span(0, "today" if word == "today" else "yesterday"), [*tokens[:at], *tokens[at + 1 :]]
        unit = _UNITS_OF_TIME.get(word)
        if unit is None:
            continue
        number = _number(tokens[at - 1].word) if at else None
        if number is not None and not number.startswith("-"):
            ms = int(float(number) * unit)
            if 0 < ms <= MAX_SPAN_MS:
                return Span(ms), [*tokens[: at - 1], *tokens[at + 1 :]]
        if number is None and len(word) > 2:
            return Span(unit), [*tokens[:at], *tokens[at + 1 :]]
    return None, list(tokens)


def _take_hysteresis(tokens: list[Token]) -> tuple[str, list[Token]]:
    for at, token in enumerate(tokens[:-1]):
        number = _number(tokens[at + 1].word)
        if token.word in ("hysteresis", "hyst") and number is not None:
            return number.removeprefix("-"), tokens[:at] + tokens[at + 2 :]
    return "", tokens


def _times_of_day(words: Sequence[str]) -> tuple[int, int] | None:
    """Two times of day as minutes since midnight, None if there are not exactly two."""
    found: list[int] = []
    for word in words:
        if word in ("am", "pm") and found:
            found[-1] = found[-1] % 720 + (720 if word == "pm" else 0)
            continue
        hour, _, minute = word.removeprefix("-").partition(":")
        if not (hour.isdecimal() and hour.isascii() and (not minute or (minute.isdecimal() and minute.isascii()))):
            return None
        if int(hour) > 24 or int(minute or 0) > 59:
            return None
        found.append((int(hour) * 60 + int(minute or 0)) % 1440)
    return (found[0], found[1]) if len(found) == 2 else None


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
