"""Keys of users of other servers: answered from what is known of them, asked for where that is not enough.

The devices of users who share a room are kept and followed (encryption/remote_devices.py); those of others are asked
for each time. Servers are asked in parallel, each for its own users only. May import encryption, storage and this
package. Source: Server-Server API, "Device Management", "End-to-End Encryption".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from thingroom_common.database import Database
from thingroom_homeserver.core.canonical_json import json_length
from thingroom_homeserver.encryption.cross_signing import MASTER, SELF_SIGNING, CrossSigning
from thingroom_homeserver.encryption.device_keys import MAX_KEY_BYTES, MAX_KEY_ID_LENGTH
from thingroom_homeserver.encryption.remote_devices import (
    MAX_DEVICES,
    RemoteDevice,
    RemoteDevices,
    RemoteList,
    parse_device,
    parse_signing_keys,
    shown_device,
)
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.room_servers import server_shares_with

logger = logging.getLogger(__name__)

JsonObject = dict[str, Any]

USERS_A_REQUEST = 200
SERVERS_AT_ONCE = 50
RESYNCS_AT_ONCE = 10
MAX_RESYNCS = 1000
RESYNC_ROUNDS = 3
DEFAULT_TIMEOUT_SECONDS = 10.0


@dataclass(slots=True)
class Answer:
    """What /keys/query tells of remote users. failures: by server, why its users are missing or may be out of date."""

    devices: dict[str, dict[str, JsonObject]] = field(default_factory=dict)
    signing_keys: dict[str, dict[str, JsonObject]] = field(default_factory=lambda: {MASTER: {}, SELF_SIGNING: {}})
    failures: dict[str, JsonObject] = field(default_factory=dict)


class RemoteKeys:
    """Asks other servers about keys. Must be used on the event loop."""

    def __init__(
        self,
        database: Database,
        client: FederationClient,
        remote_devices: RemoteDevices,
        cross_signing: CrossSigning,
        server_name: str,
    ) -> None:
        self._database = database
        self._client = client
        self._remote_devices = remote_devices
        self._cross_signing = cross_signing
        self._server_name = server_name
        self._asking = asyncio.Semaphore(SERVERS_AT_ONCE)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._resyncs: dict[str, asyncio.Task[None]] = {}
        self._resyncing = asyncio.Semaphore(RESYNCS_AT_ONCE)

    async def close(self) -> None:
        """Stop what runs in the background."""
        tasks = list(self._resyncs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def query(
        self, wanted: Mapping[str, Collection[str]], viewer: str, seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> Answer:
        """Devices (none named: all) and cross-signing keys of remote users, with what `viewer` may see of signatures.

        No server holds the answer up for more than `seconds`.
        """
        answer = Answer()
        passing: dict[str, RemoteList] = {}
        by_server = _by_server(wanted)
        await asyncio.gather(
            *(self._bring(server, users, seconds, passing, answer.failures) for server, users in by_server.items())
        )
        answer.devices = self._remote_devices.query([user for user in wanted if user not in passing], viewer)
        stored = self._cross_signing.query(list(answer.devices), viewer)
        for usage, by_user in answer.signing_keys.items():
            by_user |= stored[usage]
        for user_id, told in passing.items():
            answer.devices[user_id] = {device.device_id: shown_device(device) for device in told.devices}
            for usage, key in told.signing_keys.items():
                answer.signing_keys[usage][user_id] = key.json
        for user_id, device_ids in wanted.items():
            if device_ids and user_id in answer.devices:
                found = answer.devices[user_id]
                answer.devices[user_id] = {name: keys for name, keys in found.items() if name in device_ids}
        return answer

    async def claim(
        self, wanted: Mapping[str, Mapping[str, str]], seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> tuple[dict[str, dict[str, JsonObject]], dict[str, JsonObject]]:
        """One-time keys of remote users' devices, as /keys/claim answers them, and why servers gave none."""
        found: dict[str, dict[str, JsonObject]] = {}
        failures: dict[str, JsonObject] = {}

        async def ask(server: str, users: Mapping[str, Mapping[str, str]]) -> None:
            body = {"one_time_keys": {user: dict(devices) for user, devices in users.items()}}
            answer = await self._post(server, "claim", body, seconds)
            if isinstance(answer, Failed):
                failures[server] = _failure(answer)
                return
            keys = answer.get("one_time_keys")
            for user_id, devices in users.items():
                told = keys.get(user_id) if isinstance(keys, dict) else None
                claimed = _claimed(told, devices)
                if claimed:
                    found[user_id] = claimed

        await asyncio.gather(*(ask(server, users) for server, users in _by_server(wanted).items()))
        return found, failures

    def resync(self, user_id: str) -> None:
        """Fetch the user's list in the background: an update was missed."""
        if user_id in self._resyncs or len(self._resyncs) >= MAX_RESYNCS:
            return  # what remains stale is fetched when somebody asks for it
        task = asyncio.create_task(self._resync(user_id), name="resync a device list")
        self._resyncs[user_id] = task
        task.add_done_callback(lambda _: self._resyncs.pop(user_id, None))

    async def _resync(self, user_id: str) -> None:
        async with self._resyncing:
            for _ in range(RESYNC_ROUNDS):
                arrivals = self._remote_devices.arrivals(user_id)
                told = await self._numbered_list(user_id, DEFAULT_TIMEOUT_SECONDS)
                if isinstance(told, Failed):
                    break
                await self._remote_devices.keep([told], {user_id: arrivals})
                if self._remote_devices.arrivals(user_id) == arrivals:
                    return
        await self._remote_devices.note_unknown_change(user_id)

    async def _bring(
        self,
        server: str,
        user_ids: Collection[str],
        seconds: float,
        passing: dict[str, RemoteList],
        failures: dict[str, JsonObject],
    ) -> None:
        """See to it that what is known of the users is current; who cannot be followed goes into `passing`."""
        try:
            async with asyncio.timeout(seconds), self._turn(server):
                missing = self._database.read(lambda connection: self._not_current(connection, user_ids))
                for start in range(0, len(missing), USERS_A_REQUEST):
                    some = missing[start : start + USERS_A_REQUEST]
                    failed = await self._fetch(server, some, seconds, passing)
                    if failed is not None:
                        failures[server] = _failure(failed)
                        return
        except TimeoutError:
            failures[server] = _failure(Failed("timeout", text=f"{server} did not answer within {seconds:g} s"))

    async def _fetch(
        self, server: str, user_ids: Collection[str], seconds: float, passing: dict[str, RemoteList]
    ) -> Failed | None:
        arrivals = {user_id: self._remote_devices.arrivals(user_id) for user_id in user_ids}
        if len(user_ids) == 1:
            told = await self._numbered_list(next(iter(user_ids)), seconds)
            lists = None if isinstance(told, Failed) else [told]
            if isinstance(told, Failed) and (told.status is None or told.status >= 500):
                return told
        else:
            lists = None
        if lists is None:
            answer = await self._post(server, "query", {"device_keys": {user_id: [] for user_id in user_ids}}, seconds)
            if isinstance(answer, Failed):
                return answer
            lists = _lists(answer, user_ids)
        followed = self._database.read(
            lambda connection: {
                each.user_id for each in lists if server_shares_with(connection, each.user_id, self._server_name)
            }
        )
        await self._remote_devices.keep([each for each in lists if each.user_id in followed], arrivals)
        passing |= {each.user_id: each for each in lists if each.user_id not in followed}
        return None

    async def _numbered_list(self, user_id: str, seconds: float) -> RemoteList | Failed:
        """The user's list with its number."""
        server = user_id.partition(":")[2]
        answer = await self._client.request(
            server, "GET", path("v1", "user", "devices", user_id), timeout_seconds=seconds
        )
        if isinstance(answer, Failed):
            return answer
        stream_id, devices = answer.get("stream_id"), answer.get("devices")
        if answer.get("user_id") != user_id or type(stream_id) is not int or not isinstance(devices, list):
            return Failed("bad_answer", 200, text=f"{server} did not answer with a list of devices")
        found: dict[str, RemoteDevice] = {}
        for each in devices[:MAX_DEVICES]:
            device_id = each.get("device_id") if isinstance(each, dict) else None
            if isinstance(device_id, str):
                device = parse_device(each.get("keys"), user_id, device_id, each.get("device_display_name"))
                if device is not None:
                    found[device_id] = device
        keys = parse_signing_keys(user_id, answer.get("master_key"), answer.get("self_signing_key"))
        return RemoteList(user_id, tuple(found.values()), stream_id, keys)

    async def _post(self, server: str, what: str, body: JsonObject, seconds: float) -> JsonObject | Failed:
        async with self._asking:
            return await self._client.request(
                server, "POST", path("v1", "user", "keys", what), body=body, timeout_seconds=seconds
            )

    def _not_current(self, connection: Reader, user_ids: Collection[str]) -> list[str]:
        return [user_id for user_id in user_ids if not self._remote_devices.is_current(connection, user_id)]

    @contextlib.asynccontextmanager
    async def _turn(self, server: str) -> AsyncIterator[None]:
        """One at a time for each server: who waited finds what the one before has fetched."""
        lock, users = self._locks.get(server, (asyncio.Lock(), 0))
        self._locks[server] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[server]
            if users == 1:
                del self._locks[server]
            else:
                self._locks[server] = (lock, users - 1)


def _by_server(wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for user_id, value in wanted.items():
        found.setdefault(user_id.partition(":")[2], {})[user_id] = value
    return found


def _lists(answer: JsonObject, user_ids: Collection[str]) -> list[RemoteList]:
    """What a /user/keys/query says of the users that were asked for. Whom it does not name has no devices."""
    device_keys, masters, self_signing = (
        value if isinstance(value := answer.get(name), dict) else {}
        for name in ("device_keys", "master_keys", "self_signing_keys")
    )
    found = []
    for user_id in user_ids:
        by_device = device_keys.get(user_id)
        devices = []
        for device_id, keys in list(by_device.items())[:MAX_DEVICES] if isinstance(by_device, dict) else ():
            unsigned = keys.get("unsigned") if isinstance(keys, dict) else None
            name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
            device = parse_device(keys, user_id, device_id, name)
            if device is not None:
                devices.append(device)
        keys = parse_signing_keys(user_id, masters.get(user_id), self_signing.get(user_id))
        found.append(RemoteList(user_id, tuple(devices), None, keys))
    return found


def _claimed(told: object, devices: Mapping[str, str]) -> dict[str, JsonObject]:
    """Of what a server gives those keys that were asked for, one a device."""
    found: dict[str, JsonObject] = {}
    for device_id, algorithm in devices.items():
        keys = told.get(device_id) if isinstance(told, dict) else None
        for name, key in keys.items() if isinstance(keys, dict) else ():
            fits = name.startswith(f"{algorithm}:") and len(name) <= MAX_KEY_ID_LENGTH and isinstance(key, str | dict)
            length = json_length(key)
            if fits and length is not None and length <= MAX_KEY_BYTES:
                found[device_id] = {name: key}
                break
    return found


def _failure(failed: Failed) -> JsonObject:
    """What a client is told of a server that gave no answer."""
    return {"status": failed.status or 503, "message": failed.text}
