"""Which function answers which request.

worker.py asks `answer_to`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from thingroom_gateway.bot import requests as r
from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.commands.actuate import answer_actuate
from thingroom_gateway.bot.commands.alert import (
    answer_add_alert,
    answer_list_alerts,
    answer_remove_alert,
    answer_set_preset,
    answer_snooze,
)
from thingroom_gateway.bot.commands.chart import answer_chart
from thingroom_gateway.bot.commands.devices_in_and_out import (
    answer_end_pairing,
    answer_pair,
    answer_replace,
    answer_revoke,
)
from thingroom_gateway.bot.commands.export import answer_export
from thingroom_gateway.bot.commands.help import answer_hello, answer_help
from thingroom_gateway.bot.commands.history import answer_history
from thingroom_gateway.bot.commands.latest import answer_devices, answer_latest
from thingroom_gateway.bot.commands.live import answer_set_live, answer_show_live
from thingroom_gateway.bot.commands.manage import answer_move, answer_rename
from thingroom_gateway.bot.commands.quiet import answer_end_quiet, answer_set_quiet, answer_show_quiet
from thingroom_gateway.bot.conversation import Tools, Where
from thingroom_gateway.bot.requests import Request

Command = Callable[[Any, Where, Tools], Awaitable[Answer]]

COMMANDS: Final[dict[type, Command]] = {
    r.Help: answer_help,
    r.Hello: answer_hello,
    r.Devices: answer_devices,
    r.Latest: answer_latest,
    r.History: answer_history,
    r.Chart: answer_chart,
    r.Export: answer_export,
    r.Pair: answer_pair,
    r.EndPairing: answer_end_pairing,
    r.Move: answer_move,
    r.Rename: answer_rename,
    r.Revoke: answer_revoke,
    r.Replace: answer_replace,
    r.AddAlert: answer_add_alert,
    r.ListAlerts: answer_list_alerts,
    r.RemoveAlert: answer_remove_alert,
    r.SetPreset: answer_set_preset,
    r.Snooze: answer_snooze,
    r.SetQuiet: answer_set_quiet,
    r.EndQuiet: answer_end_quiet,
    r.ShowQuiet: answer_show_quiet,
    r.SetLive: answer_set_live,
    r.ShowLive: answer_show_live,
    r.Actuate: answer_actuate,
}


async def answer_to(request: Request, where: Where, tools: Tools) -> Answer:
    """Carry out `request`. Raises people.NotNow, sqlite3.Error."""
    return await COMMANDS[type(request)](request, where, tools)
