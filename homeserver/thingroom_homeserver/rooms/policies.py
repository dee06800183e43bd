"""Policy servers: a room may name a server that is asked before each event, and whose signature recommends it.

An event made here is built and authorised in a write function, which is then undone by SignatureNeeded; the policy
server is asked; the write function runs again and finds the event approved. In rooms without a policy server, which is
nearly all, this costs one look-up. May import core and storage. Source: Server-Server API, "Policy Servers".
Next: append_event.py, receive_event.py; federation/policy_servers.py asks.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event, event_of_pdu
from thingroom_homeserver.core.signing import decode_base64, verify_event
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import StateKey, current_entry
from thingroom_homeserver.storage.events import EventStore
from thingroom_homeserver.storage.room_servers import is_server_in_room

if TYPE_CHECKING:
    from thingroom_homeserver.rooms.context import Rooms

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

POLICY: StateKey = ("m.room.policy", "")
KEY_ID = "ed25519:policy_server"
"""The key id of every policy server's signatures."""
TRIES = 6
"""A write may make several events, each of which is asked for when those before it are approved."""
MAX_REMEMBERED = 2000
ASKED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """The policy server of a room. `public_key` is empty where what the room names is no key: nothing fits it."""

    name: str
    public_key: bytes

    def has_signed(self, event: Event) -> bool:
        return verify_event(event.pdu, self.name, KEY_ID, self.public_key, event.rules)

    def signed(self, event: Event, signature: str) -> Event:
        """The event with this server's signature added."""
        signatures = event.pdu["signatures"]
        of_server = signatures.get(self.name)
        added = {**(of_server if isinstance(of_server, dict) else {}), KEY_ID: signature}
        return event_of_pdu({**event.pdu, "signatures": {**signatures, self.name: added}}, event.event_id, event.rules)


DraftKey: TypeAlias = tuple[str, str, str, str | None, str]
"""What makes two drafts the same: room, sender, type, state key, content."""


class SignatureNeeded(Exception):
    """Raised inside a write function, to undo it: the policy server has to be asked for this event first."""

    def __init__(self, key: DraftKey, event: Event, server: PolicyServer) -> None:
        super().__init__(event.event_id)
        self.key = key
        self.event = event
        self.server = server


class AsksPolicyServers(Protocol):
    async def ask(self, server: PolicyServer, event: Event) -> str | Refused:
        """The server's signature of the event, checked; or why there is none."""
        ...


class Policies:
    """Which events were approved but are not stored yet, and what was heard of events of other servers."""

    def __init__(self) -> None:
        self._asks: AsksPolicyServers | None = None
        self._approved: OrderedDict[DraftKey, Event] = OrderedDict()
        self._heard: OrderedDict[tuple[str, PolicyServer], bool] = OrderedDict()

    def ask_through(self, asks: AsksPolicyServers) -> None:
        """The federation's, once it is there."""
        self._asks = asks

    def approved(self, key: DraftKey) -> Event | None:
        """The event that was approved for such a draft."""
        return self._approved.get(key)

    def forget_approved(self, key: DraftKey) -> None:
        self._approved.pop(key, None)

    async def approve(self, needed: SignatureNeeded) -> Refused | None:
        """Ask for the event that a write function needs."""
        signed = await self.sign(needed.server, needed.event)
        if isinstance(signed, Refused):
            return signed
        _remember(self._approved, needed.key, signed)
        return None

    async def sign(self, server: PolicyServer, event: Event) -> Event | Refused:
        """The event with the policy server's signature."""
        if self._asks is None:
            return Refused(Why.UNREACHABLE, f"The room's policy server {server.name} cannot be asked")
        signature = await self._asks.ask(server, event)
        return signature if isinstance(signature, Refused) else server.signed(event, signature)

    async def prepare(self, rooms: Rooms, events: Iterable[Event]) -> None:
        """Ask for those events of other servers that their room's policy server has not signed; receipt asks no one."""
        servers: dict[str, PolicyServer | None] = {}
        slots = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(server: PolicyServer, event: Event) -> None:
            async with slots:
                signed = await self.sign(server, event)
            _remember(self._heard, (event.event_id, server), not isinstance(signed, Refused))

        asking = []
        for event in events:
            room_id = event.room_id
            if room_id not in servers:
                servers[room_id] = rooms.database.read(lambda c, r=room_id: current_policy_server(rooms, c, r))  # type: ignore[misc]
            server = servers[room_id]
            if server is None or is_exempt(event.type, event.state_key) or server.has_signed(event):
                continue
            if (event.event_id, server) not in self._heard:
                asking.append(ask(server, event))
        if asking:
            await asyncio.gather(*asking)

    def recommends(self, server: PolicyServer, event: Event) -> bool:
        """Step 7 of the checks on receipt: whether the event is signed, or was when it was asked for."""
        if is_exempt(event.type, event.state_key) or server.has_signed(event):
            return True
        return self._heard.get((event.event_id, server), False)


def policy_server_of(
    events: EventStore, connection: Reader, room_id: str, policy_event_id: str | None
) -> PolicyServer | None:
    """The room's policy server, which is the one that `policy_event_id` names if anybody of it is in the room."""
    stored = None if policy_event_id is None else events.get(connection, policy_event_id)
    if stored is None:
        return None
    name, keys = stored.event.content.get("via"), stored.event.content.get("public_keys")
    text = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(name, str) or not isinstance(text, str) or not is_server_in_room(connection, room_id, name):
        return None
    return PolicyServer(name, decode_base64(text) or b"")


def current_policy_server(rooms: Rooms, connection: Reader, room_id: str) -> PolicyServer | None:
    """The same by the room's current state as it is committed."""
    return policy_server_of(rooms.events, connection, room_id, current_entry(connection, room_id, *POLICY))


def is_exempt(event_type: str, state_key: str | None) -> bool:
    """Whether the policy server is not asked: for what may disable it."""
    return (event_type, state_key) == POLICY


def draft_key(room_id: str, sender: str, event_type: str, state_key: str | None, content: JsonObject) -> DraftKey:
    return room_id, sender, event_type, state_key, json.dumps(content, sort_keys=True)


async def write_approved(rooms: Rooms, write: Callable[[Transaction], T]) -> T | Refused:
    """Run a write function that makes events, as often as a policy server has to be asked for one of them."""
    for _ in range(TRIES):
        try:
            return await rooms.database.write(write)
        except SignatureNeeded as needed:
            refused = await rooms.policies.approve(needed)
            if refused is not None:
                return refused
    return Refused(Why.UNKNOWN, "The room changes faster than its policy server answers")


def _remember(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    if len(table) > MAX_REMEMBERED:
        table.popitem(last=False)
