"""Pushing events, and what else it asked for, to one application service: in order, none lost, a retry unchanged.

A transaction's body is on disk before it is sent first and stays there until it is acknowledged; the acknowledgement
and the next transaction share one commit. May import storage, rooms, sync and accounts.
Source: application service API, "Pushing events". Next: interest.py decides what is sent, extras.py what goes along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.appservices import AppService
from thingroom_homeserver.appservice_api.extras import Extras, ExtrasSource, Seen, recipients_in
from thingroom_homeserver.appservice_api.http_client import Answered, AppServiceClient
from thingroom_homeserver.appservice_api.interest import Interest, MemberChange
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.canonical_json import JsonObject, encode_json
from thingroom_homeserver.core.client_event import to_client_event
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage import appservices as storage
from thingroom_homeserver.storage.appservices import SavedStream
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import members_changed_at
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import MembershipChange, local_joined_members
from thingroom_homeserver.storage.positions import current_position
from thingroom_homeserver.storage.to_device import delete_messages
from thingroom_homeserver.sync.room_sections import stripped_section

logger = logging.getLogger(__name__)

EVENTS_A_TRANSACTION = 100
BYTES_A_TRANSACTION = 1_000_000
EVENTS_A_READ = 200
SAVE_EVERY = 1000
ANSWER_WITHIN_SECONDS = 60.0
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0
HEARD_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class _Batch:
    """What the walk along the stream found: up to one transaction."""

    position: int
    events: list[bytes] = field(default_factory=list)
    size: int = 0
    changes: list[MemberChange] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)

    @property
    def is_full(self) -> bool:
        return len(self.events) >= EVENTS_A_TRANSACTION or self.size >= BYTES_A_TRANSACTION


class Delivery:
    """The stream to one application service. `run` it as a task; cancel it to stop."""

    def __init__(
        self,
        appservice: AppService,
        client: AppServiceClient,
        database: Database,
        rooms: Rooms,
        aliases_of: Callable[[str], list[str]],
        clock: Clock,
        extras: ExtrasSource,
    ) -> None:
        self._appservice = appservice
        self._client = client
        self._database = database
        self._rooms = rooms
        self._aliases_of = aliases_of
        self._clock = clock
        self._extras = extras
        self._news = asyncio.Event()
        self._heard = asyncio.Event()

    @property
    def wants_extras(self) -> bool:
        """Whether it must be woken for more than events."""
        return self._extras.is_wanted

    def wake(self) -> None:
        """There may be new events."""
        self._news.set()

    def heard_from(self) -> None:
        """The application service made a request, so it is up: do not sit out a long wait."""
        self._heard.set()

    async def run(self) -> None:
        """Deliver for ever."""
        stream, interest = await self._open()
        saved_position = stream.position
        while True:
            acknowledged = stream if stream.pending is not None else None
            if stream.pending is not None:
                await self._deliver(stream.last_transaction, stream.pending)
            self._news.clear()
            upto = self._rooms.notifier.position
            batch = await self._collect(interest, stream.position)
            # What goes along is not newer than the events that it goes with.
            upto = batch.position if batch.is_full else max(upto, batch.position)
            extras = self._look(interest, batch, stream.extras_position, upto)
            stream = self._after(stream, interest, batch, extras)
            # Where nothing was of interest the position need not be saved: the same events will be skipped again.
            if (
                acknowledged is not None
                or stream.pending is not None
                or batch.changes
                or stream.position - saved_position >= SAVE_EVERY
            ):
                await self._save(stream, batch.changes, acknowledged)
                saved_position = stream.position
            if stream.pending is None and extras.position >= upto:
                await self._news.wait()

    async def _open(self) -> tuple[SavedStream, Interest]:
        appservice = self._appservice
        saved = self._database.read(lambda connection: storage.load_stream(connection, appservice.id))
        if saved is not None and saved.namespaces_digest == appservice.namespaces_digest:
            members = self._database.read(lambda connection: storage.load_members(connection, appservice.id))
            return saved, Interest(appservice, members, self._aliases_of)

        # New here, or its namespaces changed: begin with the present.
        stream = SavedStream(
            appservice.namespaces_digest,
            self._database.read(current_position),
            saved.last_transaction if saved else 0,
            saved.pending if saved else None,
            saved.extras_position if saved else self._database.read(current_position),
        )
        joined = [
            (room_id, user_id)
            for room_id, user_id in self._database.read(local_joined_members)
            if appservice.covers_user(user_id)
        ]

        def start(transaction: Transaction) -> None:
            storage.save_stream(transaction, appservice.id, stream)
            storage.replace_members(transaction, appservice.id, joined)

        await self._database.write(start)
        return stream, Interest(appservice, joined, self._aliases_of)

    async def _collect(self, interest: Interest, position: int) -> _Batch:
        """Walk the stream from `position` until there is one transaction's worth, or the end."""
        batch = _Batch(position)
        while not batch.is_full:
            found = self._database.read(lambda connection: self._read(connection, interest, batch))
            if found < EVENTS_A_READ:
                break
            await asyncio.sleep(0)
        return batch

    def _read(self, connection: Reader, interest: Interest, batch: _Batch) -> int:
        """Take the next events into `batch`; how many there were to look at."""
        events = self._rooms.events.stream_after(connection, batch.position, 2**62, EVENTS_A_READ)
        for stored in events:
            if batch.is_full:
                break
            wanted, changes = interest.step(stored.event, self._members_changed(connection, stored))
            batch.changes += changes
            self._note_seen(batch.seen, stored.event, changes, interest, wanted)
            if wanted:
                encoded = self._encoded(connection, stored)
                batch.events.append(encoded)
                batch.size += len(encoded)
            assert stored.position is not None
            batch.position = stored.position
        return len(events)

    def _members_changed(self, connection: Reader, stored: StoredEvent) -> list[tuple[str, bool]]:
        """(user id, whether joined now) of those whose current membership the event changed."""
        assert stored.position is not None
        changed = members_changed_at(connection, stored.event.room_id, stored.position)
        if not changed:
            return []
        events = self._rooms.events.get_many(connection, [event_id for event_id in changed.values() if event_id])
        return [
            (user_id, event_id is not None and events[event_id].event.content.get("membership") == "join")
            for user_id, event_id in changed.items()
        ]

    def _encoded(self, connection: Reader, stored: StoredEvent) -> bytes:
        replaced = None
        if stored.replaces_state is not None:
            replaced = self._rooms.events.get(connection, stored.replaces_state)
        return encode_json(
            to_client_event(
                stored.event,
                age=max(0, self._clock.now_ms() - stored.event.origin_server_ts),
                prev_content=None if replaced is None else replaced.event.content,
                replaces_state=stored.replaces_state,
                more_unsigned=self._stripped_state(connection, stored),
            )
        )

    def _stripped_state(self, connection: Reader, stored: StoredEvent) -> JsonObject | None:
        """What one of its users is shown of a room that it is invited to or knocks at."""
        event = stored.event
        if (
            event.type != "m.room.member"
            or event.state_key is None
            or not self._appservice.covers_user(event.state_key)
        ):
            return None
        membership = event.content.get("membership")
        if membership not in ("invite", "knock") or stored.position is None:
            return None
        change = MembershipChange(
            event.room_id, event.state_key, stored.position, event.event_id, membership, previous=None
        )
        shown = stripped_section(self._rooms, connection, change)
        return {f"{membership}_room_state": shown}

    def _note_seen(
        self, seen: Seen, event: Event, changes: Sequence[MemberChange], interest: Interest, wanted: bool
    ) -> None:
        if wanted:
            seen.rooms.add(event.room_id)
        if any(change.joined for change in changes):
            seen.entered.add(event.room_id)
        elif (
            not changes
            and event.type == "m.room.member"
            and event.state_key is not None
            and interest.covers_room(event.room_id)
        ):
            seen.met.add(event.state_key)

    def _look(self, interest: Interest, batch: _Batch, since: int, upto: int) -> Extras:
        return self._database.read(lambda connection: self._extras.look(connection, interest, batch.seen, since, upto))

    def _after(self, stream: SavedStream, interest: Interest, batch: _Batch, extras: Extras) -> SavedStream:
        if not batch.events and not extras.fields:
            return replace(stream, position=batch.position, pending=None, extras_position=extras.position)
        counts = self._database.read(
            lambda connection: self._extras.key_counts(connection, interest, batch.seen, extras.fields)
        )
        body = b'{"events":[' + b",".join(batch.events) + b"]"
        fields = extras.fields | counts
        body += b"," + encode_json(fields)[1:] if fields else b"}"
        number = stream.last_transaction + 1
        return SavedStream(stream.namespaces_digest, batch.position, number, body, extras.position)

    async def _save(
        self, stream: SavedStream, changes: list[MemberChange], acknowledged: SavedStream | None = None
    ) -> None:
        """Save where the stream is; what was acknowledged is deleted from its users' queues with the same commit."""
        appservice_id = self._appservice.id
        delivered: Iterable[tuple[str, str]] = ()
        if acknowledged is not None and acknowledged.pending is not None and self._appservice.receives_encryption:
            to_devices = recipients_in(acknowledged.pending)
            delivered = [device for device in to_devices if self._appservice.has_to_itself(device[0])]

        def write(transaction: Transaction) -> None:
            storage.save_stream(transaction, appservice_id, stream)
            for change in changes:
                storage.set_member(transaction, appservice_id, change.room_id, change.user_id, joined=change.joined)
            if acknowledged is not None:
                for user_id, device_id in delivered:
                    delete_messages(transaction, user_id, device_id, acknowledged.extras_position)

        await self._database.write(write)

    async def _deliver(self, number: int, body: bytes) -> None:
        """Send one transaction until it is acknowledged."""
        wait = FIRST_RETRY_SECONDS
        while True:
            answer = await self._client.put_transaction(self._appservice, number, body, ANSWER_WITHIN_SECONDS)
            if isinstance(answer, Answered) and answer.is_ok:
                return
            reason = f"status {answer.status}" if isinstance(answer, Answered) else answer.reason
            if wait == FIRST_RETRY_SECONDS:
                logger.warning(
                    "application service %s does not take transaction %d: %s", self._appservice.id, number, reason
                )
            await self._sit_out(wait)
            wait = min(wait * 2, LAST_RETRY_SECONDS)

    async def _sit_out(self, wait: float) -> None:
        """Wait before the next try; at most HEARD_RETRY_SECONDS once the application service is heard from."""
        self._heard.clear()
        short = min(wait, HEARD_RETRY_SECONDS)
        await asyncio.sleep(short)
        if wait > short:
            try:
                await asyncio.wait_for(self._heard.wait(), wait - short)
            except TimeoutError:
                return
