"""What a command is given: where it was said and by whom, and what it may use.

May import what the tools are. worker.py makes a Where for each message; commands/ use both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from thingroom_common.database import Database
from thingroom_gateway.alerts.engine import Alerts
from thingroom_gateway.announce import Announcer
from thingroom_gateway.appservice import AppserviceClient
from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.commander import Commander
from thingroom_gateway.bot.people import People
from thingroom_gateway.bot.requests import Span, Targets
from thingroom_gateway.charts.process import ChartProcess
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.enrolment import Enrolment
from thingroom_gateway.pairing import Pairing
from thingroom_gateway.rooms import Home
from thingroom_gateway.series.moments import parse_moment


@dataclass(frozen=True, slots=True)
class Tools:
    """What commands work with."""

    database: Database
    registry: Registry
    enrolment: Enrolment
    pairing: Pairing
    home: Home
    people: People
    alerts: Alerts
    charts: ChartProcess
    client: AppserviceClient
    commander: Commander
    announcer: Announcer
    zone: ZoneInfo
    now_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Where:
    """A message's place: `place` is that of the room, None in a direct chat; `devices` are those in question there."""

    room_id: str
    event_id: str
    person: str
    place: str | None
    devices: Sequence[Device]
    confirmed: bool = False

    def chosen(self, targets: Targets) -> list[Device]:
        """The devices that are meant: named ones, those of named places, else all that are here."""
        if targets.devices or targets.places:
            wanted = set(targets.devices)
            # "the lamp in the living room" is one lamp, and "the lamp and the kitchen" is a lamp and a room.
            narrowed = [d for d in self.devices if d.row.id in wanted and d.row.place in targets.places]
            if narrowed:
                return narrowed
            return [d for d in self.devices if d.row.id in wanted or d.row.place in targets.places]
        return list(self.devices)

    def one(self, devices: Sequence[int]) -> Device | Answer:
        """The one device of a name, or a request to be more exact."""
        found = [device for device in self.devices if device.row.id in devices]
        if len(found) == 1:
            return found[0]
        if not found:
            return Answer("I do not know that device.")
        listed = ", ".join(f"{device.row.name} in {device.row.place} ({device.kid_hex[:4]})" for device in found[:5])
        return Answer(f"There are several: {listed}. Rename one of them, or ask in its room.")


def range_of(span: Span, now: int, zone: ZoneInfo) -> tuple[int, int]:
    """From and to, Unix ms."""
    if span.day:
        today = parse_moment("today", now, zone) or 0
        if span.day == "today":
            return today, now
        yesterday = parse_moment("yesterday", now, zone) or 0
        return yesterday, now if span.day == "since yesterday" else today
    return max(0, now - span.ms), now


def polite_refusal(needed: str) -> Answer:
    """For somebody who may not."""
    return Answer(f"Sorry, that is for {needed}.", refused=True)
