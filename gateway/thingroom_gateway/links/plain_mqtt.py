"""The link to plain MQTT devices: subscribes to their topics, hands messages to plain/devices.py, publishes commands.

A message is acknowledged when what came of it is on disk, as with signed ones. May import links.mqtt_connection,
plain. Its own connection: a flood of foreign messages holds up no signed one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Final

from paho.mqtt.client import MQTTMessage

from thingroom_gateway.counters import Counters
from thingroom_gateway.links.mqtt_connection import Broker, Connection, LinkDown, Ticket
from thingroom_gateway.plain.command import Publish
from thingroom_gateway.plain.devices import Message, PlainDevices
from thingroom_gateway.plain.dialects import FILTERS, Listening
from thingroom_gateway.plain.zigbee2mqtt import MAX_DEVICES_PAYLOAD

logger = logging.getLogger(__name__)

BACK_OFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# Zigbee2MQTT's list of all its devices is by far the largest message.
MAX_PACKET: Final = MAX_DEVICES_PAYLOAD + 512
MAX_COMMANDS: Final = 64
# What comes before, or so soon after, the connection stands has waited at the broker.
CATCH_UP_SECONDS: Final = 2.0


class PlainLink:
    """Owns the connection for plain devices and reconnects."""

    def __init__(
        self, broker: Broker, devices: PlainDevices, listening: Sequence[Listening], counters: Counters
    ) -> None:
        self._broker = broker
        self._devices = devices
        self._counters = counters
        self._filters = sorted({wanted for one in listening for wanted in FILTERS[one.dialect](one.prefix)})
        self._connection: Connection | None = None
        self._subscribed: set[str] = set()
        self._followed = 0
        self._commands: deque[Publish] = deque(maxlen=MAX_COMMANDS)
        self._caught_up_at = float("inf")
        self.connected = asyncio.Event()
        devices.room.append(self._resume)

    async def run(self) -> None:
        """Keep connected until cancelled."""
        failures = 0
        while True:
            try:
                await self._session()
            except LinkDown as error:
                was_up = self.connected.is_set()
                self.connected.clear()
                failures = 0 if was_up else failures + 1
                pause = BACK_OFF[min(failures, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
                logger.warning("MQTT broker for plain devices: %s; next try in %.1f s", error, pause)
                await asyncio.sleep(pause)

    async def _session(self) -> None:
        self._subscribed, self._followed = self._devices.topics(), self._devices.topics_version
        connection = Connection(self._broker, [*self._filters, *sorted(self._subscribed)], MAX_PACKET, self)
        self._connection = connection
        self._caught_up_at = float("inf")
        try:
            await connection.open()
            self.connected.set()
            self._caught_up_at = monotonic() + CATCH_UP_SECONDS
            self._follow()
            self._pump()
            await connection.stay()
        finally:
            self._connection = None
            connection.close()

    def received(self, message: MQTTMessage, ticket: Ticket) -> bool:
        """Hand a message on; False if there is no room for it now."""
        if self._devices.full():
            return False
        acknowledge = partial(ticket.connection.acknowledge, ticket)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._counters.add("plain.rejected.bad_topic")
            acknowledge()
            return True
        late = monotonic() < self._caught_up_at
        packet = message.mid if message.qos else 0
        heard = Message(topic, bytes(message.payload), message.retain, message.dup, late, packet)
        self._devices.hear(heard, acknowledge)
        self._follow()
        return True

    def _follow(self) -> None:
        """Subscribe to what discovery made known since."""
        if self._devices.topics_version == self._followed:
            return
        self._followed = self._devices.topics_version
        new = self._devices.topics() - self._subscribed
        if new and self._connection is not None:
            self._subscribed |= new
            self._connection.subscribe(sorted(new))

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def send(self, publish: Publish) -> bool:
        """Publish a command; False if the broker is away. That the device obeyed, only its next state tells."""
        if self._connection is None or not self.connected.is_set():
            return False
        self._commands.append(publish)
        self._pump()
        return True

    def _pump(self) -> None:
        connection = self._connection
        while connection is not None and self._commands and connection.may_publish():
            one = self._commands.popleft()
            connection.publish(one.topic, one.payload)

    def published(self) -> None:
        """The broker took a command: there is room for the next."""
        self._pump()
