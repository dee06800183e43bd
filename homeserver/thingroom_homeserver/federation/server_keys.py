"""Other servers' public keys: out of memory, the database, the server itself, or a server that is trusted to know them.

May import core, storage, client.py and key_document.py. A server is asked once at a time and not too often, whoever
wants to know. Used by authentication.py, verify_event.py, and the endpoints that answer for other servers
(federation_api/key_query.py). Source: Server-Server API, "Retrieving server keys".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from thingroom_common.database import Database
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.canonical_json import JsonObject, decode_json, encode_canonical_json
from thingroom_homeserver.core.identifiers import is_valid_server_name
from thingroom_homeserver.core.signing import verify_json
from thingroom_homeserver.federation.client import FederationClient
from thingroom_homeserver.federation.key_document import MAX_DOCUMENT_BYTES, KeyDocument, is_key_id, parse_key_document
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.own_keys import OwnKeys
from thingroom_homeserver.http.rate_limit import Rate, RateLimiter
from thingroom_homeserver.storage import server_keys as storage
from thingroom_homeserver.storage.server_keys import ServerKey, StoredDocument

FETCH_SECONDS = 20.0
MAX_CACHED_SERVERS = 20_000
MAX_SIGNATURES = 10
"""Of one server on one object: more of them are not looked at."""
MAX_DOCUMENTS = 20
"""Of one server in one answer of a key server."""
SERVERS_AT_ONCE = 100
FEW_SERVERS = 10
SERVERS_IN_A_QUESTION = 50
_RATES = MappingProxyType({"fetch": Rate(1 / 20, 5)})
"""How often one server is asked for its keys, however many unknown ones are named."""


class WantedKey(NamedTuple):
    """A key, and when (ms) it must have been valid. None: at whatever time."""

    server_name: str
    key_id: str
    valid_at_ms: int | None


class ServerKeys:
    """The keys of every server, this one's too."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        client: FederationClient,
        own_keys: OwnKeys,
        trusted_key_servers: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._clock = clock
        self._client = client
        self._own_keys = own_keys
        self._trusted = tuple(trusted_key_servers)
        self._cache: OrderedDict[str, Mapping[str, ServerKey]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[bool]] = {}
        self._fetches = RateLimiter(clock, rates=_RATES)

    async def public_key(self, server_name: str, key_id: str, valid_at_ms: int | None) -> bytes | None:
        """The key, if it was valid at `valid_at_ms` (None: at whatever time). Asks for it if need be."""
        wanted = WantedKey(server_name, key_id, valid_at_ms)
        key = self.known_key(wanted)
        if key is None and await self._refresh(server_name, {key_id: valid_at_ms or 0}):
            key = self.known_key(wanted)
        return key

    async def request_key(self, server_name: str, key_id: str) -> bytes | None:
        """The key, if requests may be signed with it now: old keys count for events only."""
        key = self.known_request_key(server_name, key_id)
        if key is None:
            await self._refresh(server_name, {key_id: self._clock.now_ms()}, ignore_backoff=True)
            key = self.known_request_key(server_name, key_id)
        return key

    async def prefetch(self, wanted: Iterable[WantedKey]) -> None:
        """Ask for whatever of `wanted` is not known: every server once, and many at the same time.

        Where they are many, trusted key servers are asked first: most of a large room's servers may be gone.
        """
        missing = self._missing(wanted)
        if len(missing) > FEW_SERVERS:
            for trusted in self._trusted:
                names = [name for name in missing if name != trusted]
                for start in range(0, len(names), SERVERS_IN_A_QUESTION):
                    part = {name: missing[name] for name in names[start : start + SERVERS_IN_A_QUESTION]}
                    await self._ask_other(trusted, part)
                left = (WantedKey(name, *key) for name, keys in missing.items() for key in keys.items())
                missing = self._missing(left)
        turns = asyncio.Semaphore(SERVERS_AT_ONCE)

        async def refresh(server_name: str, keys: Mapping[str, int]) -> None:
            async with turns:
                await self._refresh(server_name, keys)

        await asyncio.gather(*(refresh(server_name, keys) for server_name, keys in missing.items()))

    def _missing(self, wanted: Iterable[WantedKey]) -> dict[str, dict[str, int]]:
        """What of `wanted` is not known: by server the key ids, and until when (ms) each should be valid; 0 for any."""
        missing: dict[str, dict[str, int]] = {}
        for each in wanted:
            known = WantedKey(each.server_name, each.key_id, each.valid_at_ms or None)
            if each.server_name != self._own_keys.server_name and self.known_key(known) is None:
                of_server = missing.setdefault(each.server_name, {})
                of_server[each.key_id] = max(of_server.get(each.key_id, 0), each.valid_at_ms or 0)
        return missing

    def known_key(self, wanted: WantedKey) -> bytes | None:
        """The key, if it is known already and was valid then."""
        if wanted.server_name == self._own_keys.server_name:
            return self._own_keys.public_key(wanted.key_id, wanted.valid_at_ms)
        key = self._keys_of(wanted.server_name).get(wanted.key_id)
        if key is None or (wanted.valid_at_ms is not None and wanted.valid_at_ms > key.valid_until_ts):
            return None
        return key.public_key

    def known_request_key(self, server_name: str, key_id: str) -> bytes | None:
        """The key, if it is known already and requests may be signed with it now."""
        key = self._keys_of(server_name).get(key_id)
        if key is None or key.is_old or key.valid_until_ts < self._clock.now_ms():
            return None
        return key.public_key

    async def verify_request_json(self, value: JsonObject, server_name: str) -> bool:
        """Whether `value` bears a valid signature by a key with which the server may sign now."""
        for key_id in signing_key_ids(value, server_name):
            if server_name == self._own_keys.server_name:
                key = self._own_keys.current.public_key if key_id == self._own_keys.current.key_id else None
            else:
                key = await self.request_key(server_name, key_id)
            if key is not None and verify_json(value, server_name, key_id, key):
                return True
        return False

    async def documents(
        self, server_name: str, wanted: Mapping[str, int], *, within_seconds: float
    ) -> list[JsonObject]:
        """What the server says of its keys, for others who ask this server instead: signed by it, not yet by us.

        `wanted`: key ids, and until when (ms) each should be valid; the id "" means any. Old answers are given where
        there are no new ones.
        """
        if server_name == self._own_keys.server_name:
            return [self._own_keys.document()]
        if not is_valid_server_name(server_name):
            return []
        if self._should_ask_again(server_name, wanted):
            named = {key_id: until for key_id, until in wanted.items() if key_id}
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._refresh(server_name, named), within_seconds)
        stored = self._database.read(lambda connection: storage.documents_of(connection, server_name))
        documents = [decode_json(each.document) for each in stored]
        if "" in wanted:
            return documents
        return [document for document in documents if not wanted.keys().isdisjoint(_key_ids(document))]

    async def close(self) -> None:
        """Stop asking."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _should_ask_again(self, server_name: str, wanted: Mapping[str, int]) -> bool:
        stored = self._database.read(lambda connection: storage.documents_of(connection, server_name))
        now_ms = self._clock.now_ms()
        if not stored or (stored[0].fetched_ts + stored[0].valid_until_ts) // 2 < now_ms:
            return True  # an answer is kept for half of its lifetime
        keys = self._keys_of(server_name)
        for key_id, valid_until in wanted.items():
            if key_id == "":
                if stored[0].valid_until_ts < valid_until:
                    return True
            elif (key := keys.get(key_id)) is None or (key.valid_until_ts < valid_until and not key.is_old):
                return True
        return False

    def _keys_of(self, server_name: str) -> Mapping[str, ServerKey]:
        keys = self._cache.get(server_name)
        if keys is None:
            found = self._database.read(lambda connection: storage.keys_of(connection, server_name))
            keys = {key.key_id: key for key in found}
            if keys:
                self._remember(server_name, keys)
        else:
            self._cache.move_to_end(server_name)
        return keys

    def _remember(self, server_name: str, keys: Mapping[str, ServerKey]) -> None:
        self._cache[server_name] = keys
        self._cache.move_to_end(server_name)
        while len(self._cache) > MAX_CACHED_SERVERS:
            self._cache.popitem(last=False)

    async def _refresh(self, server_name: str, wanted: Mapping[str, int], *, ignore_backoff: bool = False) -> bool:
        """Ask the server for its keys, or those who may know them. False where nothing new was learnt.

        `wanted`: key ids, and until when (ms) they should be valid.
        """
        if server_name == self._own_keys.server_name or not is_valid_server_name(server_name):
            return False
        task = self._asking.get(server_name)
        if task is None:
            if self._fetches.take("fetch", server_name):
                return False
            task = asyncio.create_task(self._ask(server_name, wanted, ignore_backoff), name=f"keys of {server_name}")
            self._asking[server_name] = task
            task.add_done_callback(lambda _: self._asking.pop(server_name, None))
        return await asyncio.shield(task)

    async def _ask(self, server_name: str, wanted: Mapping[str, int], ignore_backoff: bool) -> bool:
        answer = await self._client.request(
            server_name,
            "GET",
            "/_matrix/key/v2/server",
            timeout_seconds=FETCH_SECONDS,
            max_bytes=MAX_DOCUMENT_BYTES,
            ignore_backoff=ignore_backoff,
            retry=True,
            signed=False,
        )
        if not isinstance(answer, Failed):
            document = parse_key_document(answer, server_name, self._clock.now_ms())
            if document is not None:
                await self._store(document, document.keys)
                return True
        for trusted in self._trusted:
            if trusted != server_name and await self._ask_other(trusted, {server_name: wanted}):
                return True
        return False

    async def _ask_other(self, trusted: str, wanted: Mapping[str, Mapping[str, int]]) -> bool:
        """Learn what a trusted key server knows of the servers in `wanted`. False where that is nothing."""
        now_ms = self._clock.now_ms()
        criteria = {
            server_name: {key_id: {"minimum_valid_until_ts": ms or now_ms} for key_id, ms in keys.items()}
            for server_name, keys in wanted.items()
        }
        answer = await self._client.request(
            trusted,
            "POST",
            "/_matrix/key/v2/query",
            body={"server_keys": criteria},
            timeout_seconds=FETCH_SECONDS,
            max_bytes=(3 + len(wanted)) * MAX_DOCUMENT_BYTES,
        )
        found = answer.get("server_keys") if not isinstance(answer, Failed) else None
        documents = []
        for value in found[: MAX_DOCUMENTS * len(wanted)] if isinstance(found, list) else ():
            server_name = value.get("server_name") if isinstance(value, dict) else None
            if not (isinstance(server_name, str) and server_name in wanted):
                continue
            if not await self.verify_request_json(value, trusted):
                continue
            document = parse_key_document(value, server_name, now_ms)
            if document is not None:
                documents.append(document)
        for document in sorted(documents, key=lambda document: document.valid_until_ts):
            # What is known may be newer than what the other server remembers.
            known = self._keys_of(document.server_name)
            newer = [
                key
                for key in document.keys
                if key.key_id not in known or key.is_old or known[key.key_id].valid_until_ts <= key.valid_until_ts
            ]
            if newer:
                await self._store(document, newer)
        return bool(documents)

    async def _store(self, document: KeyDocument, keys: Sequence[ServerKey]) -> None:
        stored = StoredDocument(
            self._clock.now_ms(), document.valid_until_ts, encode_canonical_json(document.source, strict=False)
        )
        name = document.server_name
        await self._database.write(lambda t: storage.store_document(t, name, stored, keys))
        found = self._database.read(lambda connection: storage.keys_of(connection, name))
        self._remember(name, {key.key_id: key for key in found})


def signing_key_ids(value: JsonObject, server_name: str) -> list[str]:
    """The ids of the Ed25519 keys by which `value` bears a signature of that server, the first few of them."""
    signatures = value.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    if not isinstance(of_server, dict):
        return []
    return [key_id for key_id in of_server if is_key_id(key_id)][:MAX_SIGNATURES]


def _key_ids(document: JsonObject) -> set[str]:
    return {*document["verify_keys"], *document.get("old_verify_keys", {})}
