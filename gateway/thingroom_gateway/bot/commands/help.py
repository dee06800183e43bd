"""help: what can be said, and hello."""

from __future__ import annotations

from typing import Final

from thingroom_gateway.bot.answer import Answer, with_code
from thingroom_gateway.bot.conversation import Tools, Where
from thingroom_gateway.bot.requests import Hello, Help

_TOPICS: Final = {
    "latest": "`kitchen?`, `temperature`, `status`: the latest values.",
    "devices": "`devices`: what there is, and whether it is heard of.",
    "history": "`history kitchen temperature 7d`, `temperature yesterday`: a table of values.",
    "chart": "`chart temperature 24h`, `chart kitchen temperature humidity week`: a picture.",
    "export": "`export kitchen 30d`: a CSV file.",
    "alert": "`alert when temperature above 30`, `alert when kitchen temperature falls by 5 in 1h`,"
    " `alert when freezer is silent for 2h`, `alert when battery low`, `alert frost off`.",
    "alerts": "`alerts`: what is watched. `remove alert 3`, `snooze 3 2h`, or ⏰ under an alert.",
    "quiet": "`quiet hours 22:00 to 7:00`, `quiet off`: alerts wait and are told afterwards.",
    "live": "`live on`, `live off`, `live kitchen on`: one message per device that changes, instead of new ones.",
    "set": "`lamp on`, `set heater 21`: what devices can do.",
    "rename": "`rename kitchen to Pantry`.",
    "move": "`move kitchen to Bedroom`: into another room.",
    "pair": "`pair`: let a new device in. The owner only; the code comes in a direct chat.",
    "revoke": "`revoke kitchen`: take nothing from it any more. The owner only.",
    "replace": "`replace kitchen with kitchen 2`: a new board in the place of an old one. The owner only.",
}
_ALIASES: Final = {"remove": "revoke", "snooze": "alerts", "one": "live"}


async def answer_help(request: Help, where: Where, tools: Tools) -> Answer:
    topic = _ALIASES.get(request.topic, request.topic)
    if topic in _TOPICS:
        return _marked(_TOPICS[topic])
    how = "Say" if where.place is None else "Begin with `!`, or mention me. You can say"
    return _marked(f"{how}:\n" + "\n".join(f"• {text}" for text in _TOPICS.values()))


async def answer_hello(request: Hello, where: Where, tools: Tools) -> Answer:
    if request.thanks:
        return Answer("You are welcome.")
    return _marked("Hello. Ask me about your devices: `status`, `chart temperature 24h`, `help`.")


def _marked(text: str) -> Answer:
    return Answer(text, with_code(text))
