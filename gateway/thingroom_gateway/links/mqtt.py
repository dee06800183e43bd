"""The MQTT link: takes messages off a broker and acknowledges each only when its envelope is on disk.

QoS 1 with acknowledgements of our own making: PUBACK goes out after the commit, so a slow disk fills the in-flight
window and the broker holds the rest back. May import links.mqtt_connection, ingest's values, answers. See
docs/decisions/0003-paho-with-manual-acknowledgement.md for how this sits on paho-mqtt.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from paho.mqtt.client import MQTTMessage

from thingroom_gateway.answers import Pending
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import Registry
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.links.mqtt_connection import Broker, Connection, LinkDown, Ticket
from thingroom_gateway.outcomes import MAX_FRAME, Frame, FrameKind, Greeted, Outcome

logger = logging.getLogger(__name__)

KINDS: Final[dict[str, FrameKind]] = {"up": "up", "hello": "hello", "ask": "ask"}
BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# A message of the largest envelope, its topic and a little.
MAX_PACKET = MAX_FRAME + 512


class MqttLink:
    """Owns the connection, reconnects, and what devices have not been told yet (one `Pending` a device)."""

    def __init__(self, broker: Broker, ingest: Ingest, registry: Registry, counters: Counters) -> None:
        self._broker = broker
        self._ingest = ingest
        self._registry = registry
        self._counters = counters
        self._connection: Connection | None = None
        self._pending: dict[bytes, Pending] = {}
        self._replies: deque[Greeted] = deque(maxlen=256)
        self.connected = asyncio.Event()
        self.connected_watchers: list[Callable[[], None]] = []

    async def run(self) -> None:
        """Keep connected until cancelled."""
        failures = 0
        while True:
            try:
                await self._session()
                failures = 0
            except LinkDown as error:
                was_up = self.connected.is_set()
                self.connected.clear()
                failures = 0 if was_up else failures + 1
                pause = BACK_OFF[min(failures, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
                logger.warning("MQTT broker %s:%d: %s; next try in %.1f s", *self._address(), error, pause)
                await asyncio.sleep(pause)

    def _address(self) -> tuple[str, int]:
        return self._broker.host, self._broker.port

    async def _session(self) -> None:
        connection = Connection(self._broker, filters(self._broker.shards), MAX_PACKET, self)
        self._connection = connection
        try:
            await connection.open()
            self.connected.set()
            logger.info("connected to the MQTT broker %s:%d", *self._address())
            for watcher in self.connected_watchers:
                watcher()
            self._pump()
            await connection.stay()
        finally:
            self._connection = None
            connection.close()

    def received(self, message: MQTTMessage, ticket: Ticket) -> bool:
        """Offer a message to ingest; False if there is no room for it now."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        payload = bytes(message.payload)
        kind = topic[topic.rfind("/") + 1 :]
        if len(payload) > MAX_FRAME:
            self._counters.add("mqtt.rejected.too_large")
        elif (frame_kind := KINDS.get(kind)) is not None:
            return self._ingest.offer(Frame(frame_kind, payload, "mqtt", ticket), self)
        elif kind == "status":
            self._status(topic, payload)
        else:
            self._counters.add("mqtt.rejected.unknown_topic")
        ticket.connection.acknowledge(ticket)
        return True

    def _status(self, topic: str, payload: bytes) -> None:
        """An unsigned hint, believed of enrolled devices only and shown to people, never acted upon."""
        parts = topic.split("/")
        with suppress(ValueError):
            device = self._registry.get(bytes.fromhex(parts[-2])) if len(parts) > 1 else None
            if device is not None and payload in (b"online", b"offline"):
                device.presence.status = payload.decode()
                self._counters.add("mqtt.status")
                return
        self._counters.add("mqtt.rejected.bad_status")

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        """After the commit: PUBACKs, then answers, one a device."""
        for frame, outcome in settled:
            ticket = frame.ticket
            assert type(ticket) is Ticket
            ticket.connection.acknowledge(ticket)
            if type(outcome) is Greeted:
                self._replies.append(outcome)
            elif (kid := getattr(outcome, "kid", None)) is not None:
                pending = self._pending.get(kid)
                if pending is None:
                    pending = self._pending[kid] = Pending()
                pending.add(outcome)
        self._pump()

    def send(self, kid: bytes, data: bytes) -> bool:
        """Send `data` down to the device `kid`; False if the broker is away or much waits already."""
        if not self.connected.is_set() or len(self._replies) == self._replies.maxlen:
            return False
        self._replies.append(Greeted(kid, data))
        self._pump()
        return True

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def _pump(self) -> None:
        """Send answers while the broker takes more."""
        connection = self._connection
        while connection is not None and connection.may_publish():
            if self._replies:
                reply = self._replies.popleft()
                connection.publish(down_topic(reply.kid), reply.reply)
                continue
            kid = next(iter(self._pending), None)
            if kid is None:
                return
            pending, device = self._pending.pop(kid), self._registry.get(kid)
            if device is None:
                continue
            connection.publish(down_topic(kid), pending.take(device.row.downlink_key, kid))
            if pending:
                self._pending[kid] = pending

    def published(self) -> None:
        """The broker took an answer: there is room for the next."""
        self._pump()


def down_topic(kid: bytes) -> str:
    digits = kid.hex()
    return f"thingroom/1/{digits[0]}/{digits}/down"


def filters(shards: str) -> list[str]:
    """What to subscribe to: everything below one `+`, or each shard of its own."""
    digits = ["+"] if len(set(shards)) == 16 else sorted(set(shards))
    return [f"thingroom/1/{digit}/+/{kind}" for digit in digits for kind in (*KINDS, "status")]
