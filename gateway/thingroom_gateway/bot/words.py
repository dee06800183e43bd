"""The words that the bot knows whatever devices there are: verbs, fillers, comparisons.

Pure data; may import vocabulary. language.py and conditions.py read with them.
"""

from __future__ import annotations

from typing import Final, Literal

from thingroom_gateway.bot.vocabulary import Phrase

FILLERS: Final = frozenset(
    "the of in at my our please me for is it its what whats which s are how a an and now current currently right give"  # noqa: SIM905
    " get show tell about from there by with us do does did was were as per last past since over this that many much"
    " hi hey i have any every could would can you latest value values reading readings all like".split()
)
VERBS: Final = {
    **dict.fromkeys(("help", "commands", "usage", "?"), "help"),
    **dict.fromkeys(("hi", "hello", "hey", "moin", "thanks", "thx", "thank", "cheers"), "hello"),
    **dict.fromkeys(("devices", "device", "sensors", "things", "list"), "devices"),
    **dict.fromkeys(("latest", "values", "value", "status", "state", "now", "read", "reading", "readings"), "latest"),
    **dict.fromkeys(("everything", "overview", "summary"), "latest"),
    **dict.fromkeys(("history", "log", "table"), "history"),
    **dict.fromkeys(("chart", "charts", "plot", "graph", "diagram", "draw"), "chart"),
    **dict.fromkeys(("export", "csv", "download"), "export"),
    **dict.fromkeys(("pair", "pairing"), "pair"),
    **dict.fromkeys(("add", "create", "new", "connect"), "add"),
    **dict.fromkeys(("stop", "end"), "stop"),
    **dict.fromkeys(("move", "place"), "move"),
    **dict.fromkeys(("rename", "call"), "rename"),
    **dict.fromkeys(("revoke", "forget"), "revoke"),
    **dict.fromkeys(("remove", "delete"), "remove"),
    **dict.fromkeys(("replace",), "replace"),
    **dict.fromkeys(("alert", "alarm", "warn", "notify", "remind"), "alert"),
    **dict.fromkeys(("alerts", "alarms", "rules"), "alerts"),
    **dict.fromkeys(("snooze", "later"), "snooze"),
    **dict.fromkeys(("quiet", "mute"), "quiet"),
    **dict.fromkeys(("live",), "live"),
    **dict.fromkeys(("one",), "one"),
    **dict.fromkeys(("set", "turn", "switch", "dim", "put"), "set"),
    **dict.fromkeys(("yes", "y", "ok", "okay", "confirm", "yep"), "yes"),
    **dict.fromkeys(("no", "n", "cancel", "nope", "abort"), "no"),
}
# People's words for quantities that profiles call otherwise.
SYNONYMS: Final = {
    **dict.fromkeys(("temp", "temps", "temperatures", "warm", "hot", "cold", "heat"), "temperature"),
    **dict.fromkeys(("humid", "damp", "rh"), "humidity"),
    **dict.fromkeys(("batteries", "batt", "charge"), "battery"),
    **dict.fromkeys(("wet", "dry"), "moisture"),
    **dict.fromkeys(("bright", "dark", "light", "brightness", "lux"), "illuminance"),
}
COMPARATORS: Final[dict[Phrase, Literal["above", "below"]]] = {
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
    ("brighter", "than"): "above",
    ("wetter", "than"): "above",
    ("darker", "than"): "below",
    ("drier", "than"): "below",
    ("dryer", "than"): "below",
}
RATES: Final[dict[str, Literal["up", "down", "either"]]] = {
    **dict.fromkeys(("rises", "rise", "climbs", "jumps", "increases", "grows"), "up"),
    **dict.fromkeys(("falls", "fall", "drops", "drop", "decreases", "sinks"), "down"),
    **dict.fromkeys(("changes", "change", "varies", "moves"), "either"),
}
SILENT: Final = frozenset(("silent", "silence", "offline", "gone", "missing", "unreachable", "unheard"))
CONDITION_FILLERS: Final = FILLERS | frozenset(
    "when if within goes gets whenever becomes turns on by than more once rises falls drops climbs".split()  # noqa: SIM905
)
# What comparisons of this kind are about, where nothing else is said.
IMPLIED: Final = {
    **dict.fromkeys(("warmer", "hotter", "colder", "cooler"), "temperature"),
    **dict.fromkeys(("brighter", "darker"), "illuminance"),
    **dict.fromkeys(("wetter", "drier", "dryer"), "moisture"),
}
# What turns things on and off, also in some languages of neighbours.
ON_OFF: Final = {
    **dict.fromkeys(("on", "enable", "activate", "ein", "einschalten", "allume", "allumer", "enciende", "aan"), "on"),
    **dict.fromkeys(
        ("off", "disable", "deactivate", "aus", "ausschalten", "eteins", "eteindre", "apaga", "uit"), "off"
    ),
}
# Units after the number of a command that go without saying.
PLAIN_UNITS: Final = frozenset(
    ("degrees", "degree", "deg", "grad", "percent", "prozent", "celsius", "c", "°", "°c", "%")
)
HEARD: Final = frozenset(("hear", "heard", "seen", "alive", "online", "offline", "asleep", "connected"))
HELP_PHRASES: Final = (
    ("what", "can", "you", "do"),
    ("what", "can", "i"),
    ("what", "do", "you", "do"),
    ("who", "are", "you"),
    ("what", "are", "you"),
    ("how", "does", "this", "work"),
    ("how", "do", "i"),
)
QUESTIONS: Final = frozenset("is are was were what whats how does did do why".split())  # noqa: SIM905
KEYWORDS: Final = frozenset(
    "above below over under hours hour days week month year today yesterday when rises falls silent battery low"  # noqa: SIM905
    " hysteresis off within".split()
)
