"""The Rust SDK under Element X, told what to do by JSON lines: `python client_process.py HOMESERVER_URL FOLDER`.

Each line on stdin, {"do": "send", ...}, is answered by one line on stdout, {"result": ...} or {"error": "..."}. It
syncs as Element X does, by the SDK's own SyncService: one sliding sync for the list of rooms, another for encryption.
The commands are the methods of Commands; rust_client.py is the other side. Imports the SDK and nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matrix_sdk_python as sdk  # type: ignore[import-not-found]  # from .rust_sdk
from matrix_sdk_python._generated import matrix_sdk_ffi as ffi  # type: ignore[import-not-found]

WAIT_SECONDS = 60.0  # as tests/patience.py
LOOK_SECONDS = 0.02


class Items:
    """A list as the SDK reports its changes, from threads of its own."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def on_update(self, changes: list[Any]) -> None:
        for change in changes:
            getattr(self, "_" + type(change).__name__.rpartition(".")[2].lower())(change)

    def _append(self, change: Any) -> None:
        self.items += change.values

    def _clear(self, change: Any) -> None:
        self.items = []

    def _push_front(self, change: Any) -> None:
        self.items.insert(0, change.value)

    def _push_back(self, change: Any) -> None:
        self.items.append(change.value)

    def _pop_front(self, change: Any) -> None:
        self.items.pop(0)

    def _pop_back(self, change: Any) -> None:
        self.items.pop()

    def _insert(self, change: Any) -> None:
        self.items.insert(change.index, change.value)

    def _set(self, change: Any) -> None:
        self.items[change.index] = change.value

    def _remove(self, change: Any) -> None:
        self.items.pop(change.index)

    def _truncate(self, change: Any) -> None:
        del self.items[change.length :]

    def _reset(self, change: Any) -> None:
        self.items = list(change.values)


class Latest:
    """The last value that the SDK told, whatever the listener's method is called."""

    def __init__(self) -> None:
        self.value: Any = None

    def on_update(self, value: Any) -> None:
        self.value = value

    call = on_update


class Commands:
    def __init__(self, homeserver: str, folder: Path) -> None:
        self._homeserver = homeserver
        self._folder = folder
        self._state = Latest()
        self._rooms = Items()
        self._timelines: dict[str, tuple[Any, Items]] = {}
        self._typing: dict[str, Latest] = {}
        self._kept: list[Any] = []  # handles, whose end would end what they are for

    async def log_in(self, username: str, password: str) -> dict[str, Any]:
        data, cache = self._folder / "data", self._folder / "cache"
        for each in (data, cache):
            each.mkdir(parents=True, exist_ok=True)
        builder = sdk.ClientBuilder().homeserver_url(self._homeserver)
        builder = builder.sliding_sync_version_builder(sdk.SlidingSyncVersionBuilder.DISCOVER_NATIVE)
        builder = builder.sqlite_store(sdk.SqliteStoreBuilder(str(data), str(cache)))
        builder = builder.auto_enable_cross_signing(True).auto_enable_backups(True)
        self._client = await builder.build()
        await self._client.login(username, password, "Rust SDK", None)
        self._service = await self._client.sync_service().finish()
        self._kept.append(self._service.state(self._state))
        self._list = self._service.room_list_service()
        every_room = await self._list.all_rooms()
        entries = every_room.entries_with_dynamic_adapters(200, self._rooms)
        entries.controller().set_filter(ffi.RoomListEntriesDynamicFilterKind.NON_LEFT())
        self._kept += [every_room, entries, entries.entries_stream()]
        await self._service.start()
        await _until("sync", lambda: self._state.value == ffi.SyncServiceState.RUNNING)
        session = self._client.session()
        return {
            "user_id": session.user_id,
            "device_id": session.device_id,
            "sliding_sync": session.sliding_sync_version.name,
        }

    async def rooms(self) -> list[dict[str, Any]]:
        """In the order of the list."""
        return [
            {"room_id": room.id(), "name": room.display_name(), "membership": room.membership().name.lower()}
            for room in self._rooms.items
        ]

    async def wait_for_room(self, room_id: str, membership: str = "joined", name: str | None = None) -> None:
        def there() -> bool:
            return any(
                room.id() == room_id
                and room.membership().name.lower() == membership
                and (name is None or room.display_name() == name)
                for room in self._rooms.items
            )

        await _until("room", there, lambda: [(room.id(), room.display_name()) for room in self._rooms.items])

    async def open_room(self, room_id: str) -> None:
        """As by a tap: subscribe to it, and show its timeline."""
        await self._list.subscribe_to_rooms([room_id])
        timeline = await self._list.room(room_id).timeline()
        items = Items()
        self._kept.append(await timeline.add_listener(items))
        self._timelines[room_id] = (timeline, items)

    async def messages(self, room_id: str) -> list[dict[str, Any]]:
        found = (item.as_event() for item in self._timelines[room_id][1].items)
        return [_shown(event) for event in found if event is not None and _message(event) is not None]

    async def wait_for_message(self, room_id: str, text: str) -> dict[str, Any]:
        await _until("message", lambda: self._find(room_id, text) is not None, lambda: self._bodies(room_id))
        return _shown(self._find(room_id, text))

    async def wait_for_beginning(self, room_id: str) -> None:
        """Page backwards until there is no more."""
        while not await self._timelines[room_id][0].paginate_backwards(20):
            pass

    async def send(self, room_id: str, text: str) -> str:
        """Returns the event id, once the message is in the timeline as others have it."""
        await self._timelines[room_id][0].send(ffi.message_event_content_from_markdown(text))

        def sent() -> bool:
            return any(event.is_remote for event in self._all(room_id, text))

        await _until("own message", sent, lambda: self._bodies(room_id))
        return next(str(_shown(event)["event_id"]) for event in self._all(room_id, text) if event.is_remote)

    async def react(self, room_id: str, text: str, key: str) -> None:
        event = self._find(room_id, text)
        await self._timelines[room_id][0].toggle_reaction(event.event_or_transaction_id, key)

    async def wait_for_reaction(self, room_id: str, text: str, key: str, user_id: str) -> None:
        def there() -> bool:
            return any(
                reaction.key == key and user_id in [each.sender_id for each in reaction.senders]
                for event in self._all(room_id, text)
                for reaction in event.content.content.reactions
            )

        await _until("reaction", there, lambda: self._bodies(room_id))

    async def read(self, room_id: str) -> None:
        await self._timelines[room_id][0].mark_as_read(ffi.ReceiptType.READ)

    async def wait_for_reader(self, room_id: str, text: str, user_id: str) -> None:
        def there() -> bool:
            return any(user_id in event.read_receipts for event in self._all(room_id, text))

        await _until("receipt", there, lambda: (self._state.value, self._receipts(room_id), self._bodies(room_id)))

    async def wait_for_typing(self, room_id: str, user_id: str) -> None:
        latest = self._typing.setdefault(room_id, Latest())
        self._kept.append(self._list.room(room_id).subscribe_to_typing_notifications(latest))
        await _until("typing", lambda: latest.value and user_id in latest.value)

    async def join(self, room_id: str) -> None:
        await self._list.room(room_id).join()

    async def leave(self, room_id: str) -> None:
        await self._list.room(room_id).leave()
        await _until("leaving", lambda: all(room.id() != room_id for room in self._rooms.items))

    async def create_room(self, name: str, invite: list[str], encrypted: bool) -> str:
        wish = ffi.CreateRoomParameters(
            name=name,
            is_encrypted=encrypted,
            visibility=ffi.RoomVisibility.PRIVATE(),
            preset=ffi.RoomPreset.PRIVATE_CHAT,
            invite=invite,
        )
        return str(await self._client.create_room(wish))

    async def room_info(self, room_id: str) -> dict[str, Any]:
        info = await self._list.room(room_id).room_info()
        return {
            "name": info.display_name,
            "joined": info.joined_members_count,
            "invited": info.invited_members_count,
            "encrypted": info.encryption_state.name,
            "unread": info.num_unread_messages,
            "favourite": info.is_favourite,
        }

    async def wait_for_info(self, room_id: str, **wanted: Any) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while wanted.items() - (await self.room_info(room_id)).items():
                await asyncio.sleep(LOOK_SECONDS)

    async def members(self, room_id: str) -> dict[str, str | None]:
        found = await self._list.room(room_id).members()
        return {
            member.user_id: member.display_name
            for member in found.next_chunk(found.len()) or []
            if member.membership.is_join()
        }

    async def set_up_recovery(self) -> str:
        """Cross-signing, secret storage and a backup of keys. Returns the recovery key."""
        encryption = self._client.encryption()
        await encryption.wait_for_e2ee_initialization_tasks()
        return str(await encryption.enable_recovery(True, None, Latest()))

    async def recover(self, recovery_key: str) -> None:
        await self._client.encryption().wait_for_e2ee_initialization_tasks()
        await self._client.encryption().recover(recovery_key)

    async def verification_state(self) -> str:
        return str(self._client.encryption().verification_state().name)

    async def stop(self) -> None:
        await self._service.stop()

    async def start(self) -> None:
        await self._service.start()

    def _find(self, room_id: str, text: str) -> Any:
        return next(iter(self._all(room_id, text)), None)

    def _all(self, room_id: str, text: str) -> list[Any]:
        """Usually one event, but the SDK may show an own message twice, and keep only the later one up to date.

        It lets go of a room's events before it tells what a sync changed of them. A timeline opened in between begins
        with the change and has it applied again, so holds those events twice and counts wrong from then on: when an own
        message comes by sync, another item is removed instead of what was shown since sending. (Version 0.18.0.)
        """
        return [event for event in self._events(room_id) if _message(event) == text]

    def _events(self, room_id: str) -> list[Any]:
        events = [item.as_event() for item in self._timelines[room_id][1].items]
        return [event for event in events if event is not None]

    def _bodies(self, room_id: str) -> list[str]:
        return [_message(event) or str(event.content)[:120] for event in self._events(room_id)]

    def _receipts(self, room_id: str) -> dict[str, list[str]]:
        return {str(_shown(event)["event_id"]): sorted(event.read_receipts) for event in self._events(room_id)}


def _message(event: Any) -> str | None:
    """The text, if it is a message that can be read."""
    if not event.content.is_msg_like() or not event.content.content.kind.is_message():
        return None
    return str(event.content.content.kind.content.body)


def _shown(event: Any) -> dict[str, Any]:
    identity = event.event_or_transaction_id
    return {
        "event_id": identity.event_id if identity.is_event_id() else None,
        "sender": event.sender,
        "body": _message(event),
    }


async def _until(what: str, done: Callable[[], Any], instead: Callable[[], Any] = lambda: "") -> None:
    """Raises TimeoutError, which says what is there instead."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not done():
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"no {what} within {WAIT_SECONDS:g} s; {instead()}") from None


async def main(homeserver: str, folder: Path) -> None:
    commands = Commands(homeserver, folder)
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        try:
            answer = {"result": await getattr(commands, request.pop("do"))(**request)}
        except Exception as error:  # whatever it is, the parent is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
    sys.stdout.flush()
    os._exit(0)  # the SDK's threads outlive the interpreter, and abort it
