"""What happened, as the lines of events_out.py: readings, arrivals in rooms, enrolments.

May import events_out, registry, storage. Only built on when somebody reads; a batch gives one line per device and
verdict at most 20 times, so that a flood of readings is no flood of lines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from thingroom_common.database import Database
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.ingest import Settled
from thingroom_gateway.observation import describe
from thingroom_gateway.outbox import Sent
from thingroom_gateway.outcomes import Accepted, Duplicate, Greeted, Refused, Rejected
from thingroom_gateway.storage import places, received

MAX_LINES = 20


class ScreenEvents:
    """Turns settled frames and sent rows into events."""

    def __init__(self, events: EventsOut, registry: Registry, database: Database) -> None:
        self._events = events
        self._registry = registry
        self._database = database
        self._ready = False
        self._enrolled: set[bytes] = {device.row.kid for device in registry}

    def listening(self, config: GatewayConfig) -> None:
        where = {}
        if config.mqtt.enabled:
            where["mqtt"] = f"{config.mqtt.host}:{config.mqtt.port}"
        if config.coap.enabled:
            where["coap"] = f"{config.coap.host}:{config.coap.port}"
        if config.serial.ports:
            where["serial"] = ", ".join(config.serial.ports)
        if config.dashboard.enabled:
            where["dashboard"] = config.dashboard.url
        self._events.emit("listening", **where)

    def ready(self) -> None:
        """The links are up for the first time."""
        if not self._ready:
            self._ready = True
            self._events.emit("ready")

    def enrolled(self, device: Device) -> None:
        """A device was enrolled, renewed or revoked; the first is an event."""
        if device.row.kid not in self._enrolled:
            self._enrolled.add(device.row.kid)
            self._events.emit("enrolled", device=device.kid_hex, name=device.row.name, place=device.row.place)

    def settled(self, settled: Sequence[Settled]) -> None:
        lines = 0
        for frame, outcome in settled:
            if type(outcome) is Greeted:
                continue
            lines += 1
            if lines > MAX_LINES:
                self._events.emit("reading", verdict="more", number=len(settled) - MAX_LINES)
                return
            if type(outcome) is Rejected:
                self._events.emit("reading", verdict="rejected", reason=outcome.reason, transport=frame.transport)
            elif type(outcome) is Refused:
                fields = self._who(outcome.kid, outcome.sequence)
                self._events.emit(
                    "reading", verdict="rejected", reason=outcome.reason, transport=frame.transport, **fields
                )
            elif type(outcome) is Duplicate:
                fields = self._who(outcome.kid, outcome.sequence)
                self._events.emit("reading", verdict="duplicate", transport=frame.transport, **fields)
            elif type(outcome) is Accepted:
                fields = self._who(outcome.kid, outcome.sequence)
                fields["text"] = self._text(outcome.kid, outcome.sequence)
                self._events.emit("reading", verdict="accepted", transport=frame.transport, **fields)

    def attested(self, device: Device, sequence: int) -> None:
        """A reading of a plain device is stored."""
        kid = device.row.kid
        fields = {**self._who(kid, sequence), "text": self._text(kid, sequence)}
        self._events.emit("reading", verdict="accepted", transport="plain", **fields)

    def _who(self, kid: bytes, sequence: int) -> dict[str, object]:
        device = self._registry.get(kid)
        fields: dict[str, object] = {"device": kid.hex(), "sequence": sequence}
        if device is not None:
            room = self._database.read(lambda connection: places.load_room(connection, device.row.place))
            fields.update(name=device.row.name, room=room.room_id if room else None)
        return fields

    def _text(self, kid: bytes, sequence: int) -> str:
        device = self._registry.get(kid)
        if device is None:
            return ""
        row_id = device.row.id
        readings = self._database.read(lambda connection: received.newest_readings(connection, row_id, sequence))
        latest = {item["name"]: item["value"] for item in json.loads(f"[{readings}]")}
        return describe(device.profile, latest)

    def sent(self, sent: Sent) -> None:
        row = sent.row
        if row.sequence_first is not None and row.device is not None:
            self._events.emit(
                "in_room",
                device=self._registry.by_id(row.device).kid_hex,
                first=row.sequence_first,
                last=row.sequence_last,
                event_id=sent.event_id,
                room=sent.room_id,
            )
