"""What is stored of devices, read for the pages: one look at the database in a thread, then view.py makes words of it.

May import storage, view, parts. pages_*.py and live.py ask here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from thingroom_gateway.dashboard import view
from thingroom_gateway.dashboard.parts import Parts
from thingroom_gateway.dashboard.view import Card, Detail
from thingroom_gateway.devices import Device
from thingroom_gateway.ledger import Gap
from thingroom_gateway.series.reading import Reading
from thingroom_gateway.storage import alerts as alert_store
from thingroom_gateway.storage import dashboard as store
from thingroom_gateway.storage import series
from thingroom_gateway.storage.alerts import RuleRow
from thingroom_gateway.storage.missing import gaps_of

# A clock may run ahead: what is stamped later than this is not the newest.
AHEAD_MS: Final = 5 * 60 * 1000
COMMANDS: Final = 8

Stored = tuple[dict[str, Reading], list[RuleRow]]


class Facts:
    """Reads. All methods raise sqlite3.Error."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tools = parts.tools

    async def cards(self, devices: Sequence[Device]) -> list[Card]:
        """Devices at a glance, in the order given."""
        until = self._tools.now_ms() + AHEAD_MS

        def read(connection: sqlite3.Connection) -> list[Stored]:
            return [
                (series.latest(connection, device.row.id, until), alert_store.rules_of(connection, device.row.id))
                for device in devices
            ]

        stored = await self._tools.database.read_in_thread(read) if devices else []
        return [self._card(device, *one) for device, one in zip(devices, stored, strict=True)]

    async def detail(self, device: Device) -> Detail:
        """All that is shown of one device."""
        number, until = device.row.id, self._tools.now_ms() + AHEAD_MS

        def read(connection: sqlite3.Connection) -> tuple[Stored, list[store.PastCommand], Sequence[Gap]]:
            latest = series.latest(connection, number, until)
            rules = alert_store.rules_of(connection, number)
            return (latest, rules), store.newest_commands(connection, number, COMMANDS), gaps_of(connection, number)

        (latest, rules), commands, gaps = await self._tools.database.read_in_thread(read)
        missing, more, refused = view.missing_of(gaps)
        profile = device.profile
        return Detail(
            card=self._card(device, latest, rules),
            about=profile.about,
            firmware=device.presence.firmware,
            enrolled=device.row.enrolled_at,
            waiting=device.presence.waiting,
            quantities=[name for name, quantity in profile.quantities.items() if quantity.kind != "text"],
            controls=[view.control_of(actuator, latest) for actuator in profile.actuators.values()],
            commands=[view.sent_of(past, profile) for past in commands],
            rules=view.rules_of(rules, profile, self._tools.alerts.state),
            missing=missing,
            more_missing=more,
            refused=refused,
        )

    def _card(self, device: Device, latest: Mapping[str, Reading], rules: Sequence[RuleRow]) -> Card:
        alerts = self._tools.alerts
        raised = view.raised_of(rules, device.profile, alerts.state)
        return view.card_of(device, latest, alerts.heard(device.row.id), self._tools.now_ms(), raised)
