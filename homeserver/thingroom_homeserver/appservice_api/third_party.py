"""The networks behind application services: what they are, and who and what is found in them.

May import accounts. Every application service that names a protocol is asked, all at once, and their answers are put
together; one that does not answer, or wrongly, has nothing to tell.
Source: client-server API, "Third-party Networks"; application service API, "Third-party networks".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson

from thingroom_homeserver.accounts.appservices import AppService, AppServices, network_instance_id
from thingroom_homeserver.appservice_api.http_client import Answered, AppServiceClient, Fields, NoAnswer
from thingroom_homeserver.clock import Clock

logger = logging.getLogger(__name__)

ANSWER_WITHIN_SECONDS = 10.0
KEEP_PROTOCOL_SECONDS = 300.0
KEEP_FAILURE_SECONDS = 10.0
MAX_FOUND = 1000

JsonObject = dict[str, Any]


class _FieldType(msgspec.Struct):
    regexp: str
    placeholder: str


class _Instance(msgspec.Struct):
    desc: str
    network_id: str
    fields: JsonObject


class _Protocol(msgspec.Struct):
    user_fields: list[str]
    location_fields: list[str]
    icon: str
    field_types: dict[str, _FieldType]
    instances: list[_Instance]


class _Location(msgspec.Struct):
    alias: str
    protocol: str
    fields: JsonObject


class _User(msgspec.Struct):
    userid: str
    protocol: str
    fields: JsonObject


class ThirdParty:
    """Look-ups in third-party networks. What a protocol is like is kept for a while, what is found in it is not."""

    def __init__(self, appservices: AppServices, client: AppServiceClient, clock: Clock) -> None:
        self._appservices = appservices
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, JsonObject | None]] = {}

    async def protocols(self) -> dict[str, JsonObject]:
        """All protocols, by name."""
        names = {name: None for appservice in self._appservices for name in appservice.protocols}
        found = await asyncio.gather(*(self.protocol(name) for name in names))
        return {name: protocol for name, protocol in zip(names, found, strict=True) if protocol is not None}

    async def protocol(self, name: str) -> JsonObject | None:
        """The protocol with the instances of all application services for it; None if none of them answers."""
        asked = self._speaking(name)
        parts = await asyncio.gather(*(self._part_of(appservice, name) for appservice in asked))
        merged: JsonObject | None = None
        for appservice, part in zip(asked, parts, strict=True):
            if part is None:
                continue
            instances = [
                {**instance, "instance_id": network_instance_id(appservice.id, instance["network_id"])}
                for instance in part["instances"]
            ]
            if merged is None:
                merged = {**part, "instances": instances}
            else:
                merged["instances"] += instances
        return merged

    async def locations(self, protocol: str | None, fields: Fields) -> list[JsonObject]:
        """Portal rooms: alias, protocol, fields."""

        async def ask(appservice: AppService) -> Answered | NoAnswer:
            return await self._client.locations(appservice, protocol, fields, ANSWER_WITHIN_SECONDS)

        return await self._found(protocol, ask, _Location)

    async def users(self, protocol: str | None, fields: Fields) -> list[JsonObject]:
        """Ghosts: userid, protocol, fields."""

        async def ask(appservice: AppService) -> Answered | NoAnswer:
            return await self._client.users(appservice, protocol, fields, ANSWER_WITHIN_SECONDS)

        return await self._found(protocol, ask, _User)

    def knows(self, protocol: str) -> bool:
        """Whether an application service named the protocol."""
        return bool(self._speaking(protocol))

    def _speaking(self, protocol: str | None) -> list[AppService]:
        return [
            appservice
            for appservice in self._appservices
            if appservice.url is not None
            and (bool(appservice.protocols) if protocol is None else protocol in appservice.protocols)
        ]

    async def _part_of(self, appservice: AppService, name: str) -> JsonObject | None:
        now = self._clock.monotonic()
        until, known = self._known.get((appservice.id, name), (0.0, None))
        if now < until:
            return known
        answer = await self._client.protocol(appservice, name, ANSWER_WITHIN_SECONDS)
        part: JsonObject | None = _checked(appservice, answer, _Protocol)
        keep = KEEP_FAILURE_SECONDS if part is None else KEEP_PROTOCOL_SECONDS
        self._known[appservice.id, name] = (self._clock.monotonic() + keep, part)
        return part

    async def _found(
        self, protocol: str | None, ask: Callable[[AppService], Awaitable[Answered | NoAnswer]], shape: type
    ) -> list[JsonObject]:
        asked = self._speaking(protocol)
        answers = await asyncio.gather(*(ask(appservice) for appservice in asked))
        found: list[JsonObject] = []
        for appservice, answer in zip(asked, answers, strict=True):
            found += _checked(appservice, answer, list[shape]) or ()  # type: ignore[valid-type]
        return found[:MAX_FOUND]


def _checked(appservice: AppService, answer: Answered | NoAnswer, shape: Any) -> Any:
    """The JSON that was answered if it has that shape, with whatever else is in it; else None."""
    if isinstance(answer, NoAnswer):
        logger.warning("application service %s does not answer a look-up: %s", appservice.id, answer.reason)
        return None
    if not answer.is_ok:
        return None
    try:
        value = orjson.loads(answer.body)
        msgspec.convert(value, shape)
    except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
        logger.warning("application service %s answers a look-up wrongly: %s", appservice.id, error)
        return None
    return value
