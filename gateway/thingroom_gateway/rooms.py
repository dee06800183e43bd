"""What must exist on the homeserver before an event can be sent: the bot, the Space, a room a place, a ghost a device.

Every step is recorded once it is done and may be repeated: a crash between the homeserver's answer and our record
finds the same room by its alias. May import appservice, registration, storage. outbox.py calls `Rooms.ready`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Any

from thingroom_common.database import Database
from thingroom_gateway.appservice import Answer, AppserviceClient, Done, Later, Refused
from thingroom_gateway.devices import Device
from thingroom_gateway.icons import HOME, name_of
from thingroom_gateway.matrix_event import DEVICE_TYPE, PRESENCE_TYPE
from thingroom_gateway.registration import GHOST_PREFIX, SENDER_LOCALPART
from thingroom_gateway.storage import places
from thingroom_gateway.storage.places import SPACE, GhostRow, RoomRow

logger = logging.getLogger(__name__)

# Room versions in which the creator has no power of its own and must be listed in the power levels.
_LISTED_CREATOR = frozenset(str(number) for number in range(1, 12))


@dataclass(frozen=True, slots=True)
class Home:
    """Whose home it is, and who speaks for it. `owner` may be empty."""

    server_name: str
    name: str
    owner: str
    bot_localpart: str = SENDER_LOCALPART

    @property
    def bot(self) -> str:
        return f"@{self.bot_localpart}:{self.server_name}"

    def ghost(self, device: Device) -> str:
        return f"@{GHOST_PREFIX}{device.kid_hex}:{self.server_name}"


@dataclass(frozen=True, slots=True)
class Ready:
    """Events of the device may be sent to `room_id`."""

    room_id: str


class Rooms:
    """Makes and remembers. One call per place at a time; outbox.py sees to it."""

    def __init__(self, database: Database, client: AppserviceClient, home: Home) -> None:
        self._database = database
        self._client = client
        self._home = home
        self._bot_ready = False
        self._without_picture: set[int] = set()
        self._listed_creator: bool | None = None

    async def ready_space(self) -> Ready | Later | Refused:
        """The bot and the Space."""
        known = self._database.read(lambda connection: places.load_room(connection, SPACE))
        if known is not None:
            return Ready(known.room_id)
        if not self._bot_ready:
            for answer in (
                await self._client.register(self._home.bot_localpart),
                await self._client.set_display_name(self._home.bot, "Thingroom"),
            ):
                if not isinstance(answer, Done):
                    return answer
            self._bot_ready = True
        await self._give_picture(self._home.bot, HOME)
        extra: dict[str, Any] = {"creation_content": {"type": "m.space"}}
        if uri := await self._picture(HOME):
            extra["initial_state"] = [{"type": "m.room.avatar", "state_key": "", "content": {"url": uri}}]
        return await self._make_room(SPACE, self._home.name, extra)

    async def ready_room(self, place: str) -> Ready | Later | Refused:
        """The room of `place`, a child of the Space."""
        known = self._database.read(lambda connection: places.load_room(connection, place))
        if known is not None and known.linked and known.secured:
            return Ready(known.room_id)
        space = await self.ready_space()
        if not isinstance(space, Ready):
            return space
        if known is None:
            via = {"via": [self._home.server_name], "canonical": True}
            made = await self._make_room(
                place,
                place,
                {"initial_state": [{"type": "m.space.parent", "state_key": space.room_id, "content": via}]},
            )
            if not isinstance(made, Ready):
                return made
            known = RoomRow(place, made.room_id, linked=False, secured=True)
        child = {"via": [self._home.server_name], "suggested": True}
        answer = await self._client.set_state(space.room_id, "m.space.child", known.room_id, child)
        if not isinstance(answer, Done):
            return answer
        if not known.secured:
            answer = await self._secure(known.room_id)
            if not isinstance(answer, Done):
                return answer
        linked = replace(known, linked=True, secured=True)
        await self._database.write(lambda transaction: places.save_room(transaction, linked))
        return Ready(known.room_id)

    async def _secure(self, room_id: str) -> Answer:
        """Keep people from writing the state of devices, in a room that was made before there was this rule."""
        create = await self._client.state(room_id, "m.room.create")
        if not isinstance(create, Done):
            return create
        answer = await self._client.state(room_id, "m.room.power_levels")
        if not isinstance(answer, Done):
            return answer
        events = answer.body.get("events")
        listed = create.body.get("room_version", "1") in _LISTED_CREATOR
        levels = {**(events if isinstance(events, dict) else {}), **_own_levels(listed)}
        return await self._client.set_state(room_id, "m.room.power_levels", "", {**answer.body, "events": levels})

    async def ready_ghost(self, device: Device, room_id: str) -> Ready | Later | Refused:
        """The device's ghost, registered, named, with a picture, and joined to `room_id`."""
        name = shown_name(device)
        known = self._database.read(lambda connection: places.load_ghost(connection, device.row.id))
        pictured = known is not None and (known.picture is not None or device.row.id in self._without_picture)
        if known is not None and known.room_id == room_id and known.display_name == name and pictured:
            return Ready(room_id)
        ghost = self._home.ghost(device)
        answer = await self._client.register(ghost[1:].partition(":")[0])
        if isinstance(answer, Done):
            answer = await self._client.set_display_name(ghost, name)
        if not isinstance(answer, Done):
            return answer
        picture = known.picture if known is not None and pictured else None
        if not pictured:
            picture = await self._give_picture(ghost, name_of(device.profile.icon, device.row.attested))
            if picture is None:
                # It is no reason to keep readings waiting: it is tried again when the gateway starts anew.
                self._without_picture.add(device.row.id)
        answer = await self._client.join(room_id, ghost)
        if isinstance(answer, Refused) and answer.errcode == "M_FORBIDDEN":
            answer = await self._client.invite(room_id, ghost)
            if isinstance(answer, Done):
                answer = await self._client.join(room_id, ghost)
        if not isinstance(answer, Done):
            return answer
        row = GhostRow(device.row.id, name, room_id, picture)
        await self._database.write(lambda transaction: places.save_ghost(transaction, row))
        return Ready(room_id)

    async def _give_picture(self, user: str, name: str) -> str | None:
        """Give `user` the picture `name`, unless there is one already: somebody chose that.

        Returns what was given, empty if nothing ever will be, None if it could not be done now.
        """
        has = await self._client.avatar_url(user)
        if isinstance(has, Later):
            return None
        if isinstance(has, Done) and has.body.get("avatar_url"):
            return ""
        uri = await self._picture(name)
        if not uri:
            return uri
        answer = await self._client.set_avatar_url(user, uri)
        if isinstance(answer, Later):
            return None
        return name if isinstance(answer, Done) else ""

    async def _picture(self, name: str) -> str | None:
        """Where the homeserver keeps the picture; empty if it would not have it, None if it could not be asked."""
        known = self._database.read(lambda connection: places.load_picture(connection, name))
        if known is not None:
            return known
        uri = await self._client.upload(await asyncio.to_thread(drawn, name), "image/png", "device.png")
        if isinstance(uri, Later):
            return None
        if isinstance(uri, Refused):
            logger.warning("the homeserver refuses the picture %s: %s", name, uri)
            uri = ""
        await self._database.write(lambda transaction: places.save_picture(transaction, name, uri))
        return uri

    async def leave(self, device: Device, place: str) -> Answer:
        """Take the device's ghost out of the room of `place`, unless the device is there again."""
        known = self._database.read(lambda connection: places.load_room(connection, place))
        if known is None or device.row.place == place:
            return Done({})
        answer = await self._client.leave(known.room_id, self._home.ghost(device))
        # It is not there, or it never was: what was wanted.
        return Done({}) if isinstance(answer, Refused) else answer

    async def forget_ghost(self, device: Device) -> None:
        """The room refused the ghost: make sure of it anew."""
        await self._database.write(lambda transaction: places.forget_ghost(transaction, device.row.id))

    async def _make_room(self, place: str, name: str, extra: dict[str, Any]) -> Ready | Later | Refused:
        if self._listed_creator is None:
            capabilities = await self._client.capabilities()
            if isinstance(capabilities, Later):
                return capabilities
            self._listed_creator = _lists_creator(capabilities)
        shown = self._home.name if place == SPACE else place
        alias = alias_localpart(self._home.bot_localpart, shown, space=place == SPACE)
        levels: dict[str, int] = {self._home.owner: 100} if self._home.owner else {}
        if self._listed_creator:
            levels[self._home.bot] = 100
        body: dict[str, Any] = {
            "name": name,
            "preset": "private_chat",
            "room_alias_name": alias,
            "invite": [self._home.owner] if self._home.owner else [],
            **extra,
        }
        override: dict[str, Any] = {"events": room_levels(self._listed_creator)}
        if levels:
            override["users"] = levels
        body["power_level_content_override"] = override
        answer = await self._client.create_room(body)
        if isinstance(answer, Refused) and answer.errcode == "M_ROOM_IN_USE":
            answer = await self._client.resolve_alias(f"#{alias}:{self._home.server_name}")
        if not isinstance(answer, Done):
            return answer
        room_id = answer.body.get("room_id")
        if not isinstance(room_id, str):
            return Later("the homeserver made a room and did not say which")
        logger.info("the room of %s is %s", place or "the Space", room_id)
        await self._database.write(
            lambda transaction: places.save_room(
                transaction, RoomRow(place, room_id, linked=place == SPACE, secured=True)
            )
        )
        return Ready(room_id)


def _lists_creator(capabilities: Answer) -> bool:
    """Whether rooms of the homeserver's default version need their creator in the power levels (before version 12)."""
    body = capabilities.body if isinstance(capabilities, Done) else {}
    versions = body.get("capabilities", {}).get("m.room_versions", {})
    default = versions.get("default", "1") if isinstance(versions, dict) else "1"
    return default in _LISTED_CREATOR


def drawn(name: str) -> bytes:
    """The picture as PNG. Pillow is needed when a device is new, and is not there all the time."""
    from thingroom_gateway.pictures import draw

    return draw(name)


def shown_name(device: Device) -> str:
    """A ghost's display name; one whose words the gateway only attests says so, wherever the name is seen."""
    return f"{device.row.name} (not signed)" if device.row.attested else device.row.name


def _own_levels(listed_creator: bool) -> dict[str, int]:
    """Who may write what the gateway says of devices: above the owner where the creator is above all (version 12)."""
    level = 100 if listed_creator else 150
    return {DEVICE_TYPE: level, PRESENCE_TYPE: level}


def room_levels(listed_creator: bool) -> dict[str, int]:
    """The `events` of our rooms' power levels, whole: an override replaces what a server would put there."""
    return {
        "m.room.name": 50,
        "m.room.avatar": 50,
        "m.room.topic": 50,
        "m.room.canonical_alias": 50,
        "m.room.power_levels": 100,
        "m.room.history_visibility": 100,
        "m.room.server_acl": 100,
        "m.room.encryption": 100,
        "m.room.tombstone": 100 if listed_creator else 150,
        **_own_levels(listed_creator),
    }


def alias_localpart(bot: str, name: str, space: bool) -> str:
    """A room's alias among those of `bot`: readable where the name is plain ASCII words, else with a digest, apart."""
    folded = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "_", folded).strip("_")[:40]
    if slug != name.casefold().replace(" ", "_"):
        slug = f"{slug}_{hashlib.sha256(name.casefold().encode()).hexdigest()[:8]}".lstrip("_")
    return f"{bot}_{'space_' if space else ''}{slug}"
