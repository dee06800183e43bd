"""A small bridge on mautrix-python, run as a process with the bridges' interpreter: `mautrix_bot.py SETTINGS.json`.

To nobody but itself: "echo TEXT" is said again by a ghost of whoever said it, what others type, read and how they are
there is told to the last room where it was asked for with "watch", and in encrypted rooms it answers encrypted, with a
device of the bot that it manages without ever logging in. Imports mautrix, which is not in the tests' environment.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from mautrix.appservice import AppService
from mautrix.appservice.state_store import ASStateStore
from mautrix.client import Client
from mautrix.client.state_store.memory import MemoryStateStore
from mautrix.crypto import MemoryCryptoStore, OlmMachine
from mautrix.crypto import StateStore as CryptoStateStore
from mautrix.errors import EncryptionError
from mautrix.types import (
    EncryptedEvent,
    EventType,
    Membership,
    MessageType,
    RoomDirectoryVisibility,
    TextMessageEventContent,
)

GHOST = "echo_"


class Store(ASStateStore, MemoryStateStore):
    """What mautrix remembers of rooms and ghosts, in memory."""

    def __init__(self):
        ASStateStore.__init__(self)
        MemoryStateStore.__init__(self)


class EncryptedRooms(CryptoStateStore):
    def __init__(self, store):
        self.store = store

    async def is_encrypted(self, room_id):
        return bool(await self.store.is_encrypted(room_id))

    async def get_encryption_info(self, room_id):
        return await self.store.get_encryption_info(room_id)

    async def find_shared_rooms(self, user_id):
        return [room_id for room_id, members in self.store.members.items() if user_id in members]


class Bot:
    def __init__(self, settings):
        self.settings = settings
        self.domain = settings["domain"]
        self.store = Store()
        self.watching = None
        self.crypto = None
        self.az = AppService(
            server=settings["homeserver"],
            domain=self.domain,
            as_token=settings["as_token"],
            hs_token=settings["hs_token"],
            bot_localpart=settings["sender_localpart"],
            id=settings["id"],
            state_store=self.store,
            query_user=self.make_user,
            query_alias=self.make_room,
            ephemeral_events=True,
            encryption_events=True,
        )
        self.az.matrix_event_handler(self.on_event)

    async def run(self):
        await self.az.start(port=self.settings["port"])
        await self.az.intent.ensure_registered()
        await self.az.intent.set_displayname("Echo")
        if self.settings["encrypted"]:
            await self.start_encryption()
        duration = await self.az.ping_self("ready?")
        print(f"pinged in {duration} ms", flush=True)
        await asyncio.Event().wait()

    async def start_encryption(self):
        client = Client(base_url=self.settings["homeserver"], mxid=self.az.bot_mxid, state_store=self.store)
        client.api.token = self.az.as_token
        await client.create_device_msc4190("ECHODEVICE", "Echo's device")
        keys = MemoryCryptoStore("", "pickle key of a test")
        await keys.put_device_id(client.device_id)
        self.crypto = OlmMachine(client, keys, EncryptedRooms(self.store))
        await self.crypto.load()
        await self.crypto.share_keys(0)
        self.az.otk_handler = self.crypto.handle_as_otk_counts
        self.az.device_list_handler = self.crypto.handle_as_device_lists
        self.az.to_device_handler = self.crypto.handle_as_to_device_event

    def is_ours(self, user_id):
        return user_id == self.az.bot_mxid or user_id.startswith(f"@{GHOST}")

    async def make_user(self, user_id):
        if not user_id.startswith(f"@{GHOST}known"):
            return None
        await self.az.intent.user(user_id).ensure_registered()
        return {}

    async def make_room(self, alias):
        localpart = alias.split(":")[0][1:]
        if not localpart.startswith(f"{GHOST}room"):
            return None
        await self.az.intent.create_room(
            alias_localpart=localpart, visibility=RoomDirectoryVisibility.PRIVATE, name=localpart, is_direct=False
        )
        return {}

    async def on_event(self, event):
        if event.type == EventType.ROOM_MEMBER:
            await self.on_member(event)
        elif event.type == EventType.ROOM_MESSAGE and not self.is_ours(event.sender):
            await self.on_message(event)
        elif isinstance(event, EncryptedEvent) and self.crypto is not None and not self.is_ours(event.sender):
            await self.on_encrypted(event)
        elif self.watching is not None and event.type in (EventType.TYPING, EventType.RECEIPT, EventType.PRESENCE):
            await self.on_ephemeral(event)

    async def on_member(self, event):
        if event.state_key == self.az.bot_mxid and event.content.membership == Membership.INVITE:
            await self.az.intent.join_room(event.room_id)
            await self.az.intent.get_state(event.room_id)
        if self.crypto is not None and not self.is_ours(event.state_key):
            await self.crypto.handle_member_event(event)

    async def on_message(self, event):
        command, _, text = event.content.body.partition(" ")
        if command == "echo":
            name = event.sender.split(":")[0][1:]
            ghost = self.az.intent.user(f"@{GHOST}{name}:{self.domain}")
            await ghost.set_displayname(f"{name} (echo)")
            await ghost.send_text(event.room_id, text, timestamp=event.timestamp - 1000)
            await ghost.mark_read(event.room_id, event.event_id)
        elif command == "watch":
            self.watching = event.room_id
            await self.az.intent.send_notice(event.room_id, "watching")
        elif command == "members":
            members = await self.store.get_members(event.room_id)
            await self.az.intent.send_notice(event.room_id, " ".join(sorted(members)))

    async def on_ephemeral(self, event):
        if event.type == EventType.TYPING:
            told = f"typing in {event.room_id}: {' '.join(event.content.user_ids)}"
        elif event.type == EventType.PRESENCE:
            told = f"presence: {event.sender} {event.content.presence.value} {event.content['status_msg']}"
        else:
            readers = {user: None for kinds in event.content.values() for users in kinds.values() for user in users}
            if all(map(self.is_ours, readers)):
                return
            told = f"read in {event.room_id}: {' '.join(readers)} {' '.join(event.content)}"
        await self.az.intent.send_notice(self.watching, told)

    async def on_encrypted(self, event):
        decrypted = await self.crypto.decrypt_megolm_event(event)
        answer = TextMessageEventContent(msgtype=MessageType.TEXT, body=f"I read: {decrypted.content.body}")
        try:
            content = await self.crypto.encrypt_megolm_event(event.room_id, EventType.ROOM_MESSAGE, answer)
        except EncryptionError:
            members = await self.store.get_members(event.room_id)
            others = [user_id for user_id in members if user_id != self.az.bot_mxid]
            await self.crypto.share_group_session(event.room_id, others)
            content = await self.crypto.encrypt_megolm_event(event.room_id, EventType.ROOM_MESSAGE, answer)
        await self.az.intent.send_message_event(event.room_id, EventType.ROOM_ENCRYPTED, content)


async def main():
    await Bot(json.loads(Path(sys.argv[1]).read_text())).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
    asyncio.run(main())
