"""The latest values over CoAP, for programs nearby: GET and Observe (RFC 7641) of /latest/<key id>, as SenML.

May import aiocoap, registry, storage.series, units. Only networks that the owner named may read. Answers go out in
blocks (RFC 7959), small ones to addresses that have proved nothing, so that nobody can be flooded through us.
links/coap.py serves this beside the devices' doors.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal as Exact
from time import monotonic
from typing import Any, Final

import aiocoap
import aiocoap.interfaces
import aiocoap.resource
from aiocoap import Code, Message
from aiocoap.numbers.constants import Reliable
from aiocoap.optiontypes import BlockOption

from thingroom_common.database import Database
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.observation import Observation
from thingroom_gateway.series.export import SECONDARY_UNITS_VERSION
from thingroom_gateway.series.reading import Reading
from thingroom_gateway.storage.series import latest
from thingroom_gateway.units import UNITS
from thingroom_wire.cbor import Decimal
from thingroom_wire.keys import base_name, eui64_from_key_id
from thingroom_wire.limits import MAX_DECIMAL_EXPONENT
from thingroom_wire.senml import Record, encode_pack

LINK_FORMAT: Final = 40
SENML_JSON, SENML_CBOR = 110, 112
# Devices that are listed at most.
MAX_LISTED: Final = 1000
# How long changes gather before observers are told.
GATHER_SECONDS: Final = 0.2
# An observer who has not acknowledged the last notification is asked again after so long.
BUSY_SECONDS: Final = 1.0
# Block sizes, as exponents (RFC 7959, 2.2): 1024 bytes, and 64 for whom a forged address would be flooded.
LARGE_BLOCK, SMALL_BLOCK = 6, 2
MAX_SNAPSHOTS: Final = 64
SNAPSHOT_SECONDS: Final = 60.0
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")


# --- representations: pure -------------------------------------------------------------------------------------------


def senml_json(kid: bytes, values: dict[str, Reading]) -> bytes:
    """The values as a SenML pack in JSON (RFC 8428): exact decimals, absolute times in seconds."""
    entries: list[str] = []
    for name, reading in sorted(values.items()):
        unit = f',"u":{json.dumps(reading.unit)}' if reading.unit in UNITS else ""
        label = {"number": "v", "boolean": "vb", "text": "vs"}[reading.kind]
        value = json.dumps(reading.value) if reading.kind == "text" else reading.value
        seconds = f"{reading.ts // 1000}.{reading.ts % 1000:03}".rstrip("0").removesuffix(".")
        head = "" if entries else _base(kid, values)
        entries.append(f'{{{head}"n":{json.dumps(name)}{unit},"t":{seconds},"{label}":{value}}}')
    return f"[{','.join(entries)}]".encode()


def _base(kid: bytes, values: dict[str, Reading]) -> str:
    """The base name, and the version where a secondary unit (RFC 8798) asks for it (RFC 9100)."""
    secondary = any(reading.unit in UNITS and UNITS[reading.unit].secondary for reading in values.values())
    version = f'"bver":{SECONDARY_UNITS_VERSION},' if secondary else ""
    return f'"bn":{json.dumps(base_name(eui64_from_key_id(kid)))},{version}'


def senml_cbor(kid: bytes, values: dict[str, Reading]) -> bytes:
    """The same in CBOR, the base time being that of the newest value."""
    if not values:
        return b"\x80"
    newest = max(reading.ts for reading in values.values())
    records = [
        Record(name, reading.unit if reading.unit in UNITS else None, _exact(reading), reading.ts - newest)
        for name, reading in sorted(values.items())
    ]
    packed: bytes = encode_pack(base_name(eui64_from_key_id(kid)), newest, records)
    return packed


def _exact(reading: Reading) -> Any:
    if reading.kind == "boolean":
        return reading.value == "true"
    if reading.kind == "text":
        return reading.value
    _, digits, exponent = Exact(reading.value).as_tuple()
    mantissa = int("".join(map(str, digits))) * (-1 if reading.value.startswith("-") else 1)
    if exponent == 0:
        return mantissa
    if not isinstance(exponent, int) or abs(exponent) > MAX_DECIMAL_EXPONENT or abs(mantissa) >> 63:
        return float(reading.value)
    return Decimal(mantissa, exponent)


FORMATS: Final[dict[int, Callable[[bytes, dict[str, Reading]], bytes]]] = {
    SENML_JSON: senml_json,
    SENML_CBOR: senml_cbor,
}


@dataclass(frozen=True, slots=True)
class Link:
    """A link of RFC 6690: where it leads, and its attributes; one of value None stands alone."""

    href: str
    attributes: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        parts = [f"<{self.href}>"]
        for name, value in self.attributes:
            if value is None:
                parts.append(name)
            elif name == "ct" and value.isdecimal():
                parts.append(f"{name}={value}")
            else:
                safe = _CONTROLS.sub(" ", value).replace("\\", "\\\\").replace('"', '\\"')
                parts.append(f'{name}="{safe}"')
        return ";".join(parts)

    def matches(self, query: str) -> bool:
        """Whether a filter of RFC 6690, section 4.1, lets this link through: name=value, or name=prefix*."""
        name, has_value, wanted = query.partition("=")
        if not has_value:
            return True
        if name == "href":
            found = [self.href]
        else:
            value = dict(self.attributes).get(name)
            found = [] if value is None else value.split(" ") if name in ("rt", "if", "ct", "rel") else [value]
        if wanted.endswith("*"):
            return any(one.startswith(wanted[:-1]) for one in found)
        return wanted in found


DOORS: Final = (
    Link("/up", (("rt", "org.thingroom.up"), ("ct", "18"))),
    Link("/hello", (("rt", "org.thingroom.hello"), ("ct", "17 18"))),
    Link("/down", (("rt", "org.thingroom.down"), ("ct", "17"), ("obs", None))),
)
_INDEX: Final = Link("/latest", (("rt", "org.thingroom.devices"), ("if", "core.ll"), ("ct", str(LINK_FORMAT))))


def device_link(device: Device) -> Link:
    """The link to a device's latest values."""
    return Link(
        f"/latest/{device.kid_hex}",
        (
            ("title", device.row.name),
            ("rt", "org.thingroom.latest"),
            ("if", "core.s"),
            ("ct", f"{SENML_JSON} {SENML_CBOR}"),
            ("obs", None),
        ),
    )


# --- blocks ----------------------------------------------------------------------------------------------------------


class Snapshots:
    """What goes out in several blocks stays as it was until the last of them, within bounds of number and time."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[object, tuple[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: object, payload: bytes) -> None:
        now = self._clock()
        self._kept[key] = (payload, now)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_SNAPSHOTS or next(iter(self._kept.values()))[1] < now - SNAPSHOT_SECONDS:
            self._kept.popitem(last=False)

    def get(self, key: object) -> bytes | None:
        found = self._kept.get(key)
        return found[0] if found is not None and found[1] >= self._clock() - SNAPSHOT_SECONDS else None

    def respond(self, request: Message, largest: int, content_format: int, make: Callable[[], bytes]) -> Message:
        """The response to a GET, or the block of it that is asked for, none larger than exponent `largest`.

        `make` gives the whole representation; it is asked for the first block only.
        """
        asked = request.opt.block2
        exponent = largest if asked is None else min(asked.size_exponent, largest)
        offset = 0 if asked is None else asked.block_number << (asked.size_exponent + 4)
        key = (request.remote.blockwise_key, getattr(request, "_original_request_uri", ""), content_format)
        if offset:
            payload = self.get(key)
            if payload is None or offset >= len(payload):
                return Message(code=Code.REQUEST_ENTITY_INCOMPLETE)
        else:
            payload = make()
        size = 1 << (exponent + 4)
        etag = hashlib.sha256(payload).digest()[:8]
        if not offset and etag in (request.opt.etags or ()):
            response = Message(code=Code.VALID)
            response.opt.etag = etag
            return response
        response = Message(code=Code.CONTENT, payload=payload[offset : offset + size], content_format=content_format)
        response.opt.etag = etag
        if len(payload) > size:
            if not offset:
                self.put(key, payload)
                response.opt.size2 = len(payload)
            more = offset + size < len(payload)
            response.opt.block2 = BlockOption.BlockwiseTuple(offset >> (exponent + 4), more, exponent)
        return response


# --- resources -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Observer:
    """Somebody who is told of changes."""

    observation: Any
    remote: Any
    source: str


class Readers:
    """Who reads: `may_read` and `is_known` judge a remote, `source` names it, `is_busy` if it owes acknowledgements."""

    def __init__(
        self,
        may_read: Callable[[Any], bool],
        is_known: Callable[[Any], bool],
        source: Callable[[Any], str],
        is_busy: Callable[[Any], bool],
    ) -> None:
        self.may_read = may_read
        self.is_known = is_known
        self.source = source
        self.is_busy = is_busy

    def block(self, remote: Any) -> int:
        """The largest block for a remote, as an exponent."""
        return LARGE_BLOCK if self.is_known(remote) else SMALL_BLOCK


class _Listing(aiocoap.resource.Resource):  # type: ignore[misc]
    """Links: /.well-known/core and /latest."""

    def __init__(self, readers: Readers, snapshots: Snapshots, links: Callable[[Any], Iterator[Link] | None]) -> None:
        super().__init__()
        self._readers = readers
        self._snapshots = snapshots
        self._links = links

    async def needs_blockwise_assembly(self, request: Message) -> bool:
        return False

    async def render_get(self, request: Message) -> Message:
        if request.opt.accept not in (None, LINK_FORMAT):
            return Message(code=Code.NOT_ACCEPTABLE)
        links = self._links(request.remote)
        if links is None:
            return Message(code=Code.FORBIDDEN)
        queries = request.opt.uri_query

        def make() -> bytes:
            return ",".join(str(link) for link in links if all(link.matches(query) for query in queries)).encode()

        return self._snapshots.respond(request, self._readers.block(request.remote), LINK_FORMAT, make)


class Latest(aiocoap.resource.ObservableResource, aiocoap.resource.PathCapable):  # type: ignore[misc]
    """/latest/<kid>. `seen` is called for every new reading; `observers` bounds who is told of it."""

    def __init__(
        self, database: Database, registry: Registry, readers: Readers, snapshots: Snapshots, observers: int
    ) -> None:
        super().__init__()
        self._database = database
        self._registry = registry
        self._readers = readers
        self._snapshots = snapshots
        self._max_observers = observers
        self._by_device: dict[bytes, set[_Observer]] = {}
        self._by_source: Counter[str] = Counter()
        self._changed: set[bytes] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def observers(self) -> int:
        """How many observations there are."""
        return self._by_source.total()

    def listings(self) -> tuple[aiocoap.resource.Resource, aiocoap.resource.Resource]:
        """The resources for /.well-known/core and for /latest itself."""

        def known(remote: Any) -> Iterator[Link]:
            yield from DOORS
            if self._readers.may_read(remote):
                yield _INDEX
                yield from self._devices()

        def devices(remote: Any) -> Iterator[Link] | None:
            return self._devices() if self._readers.may_read(remote) else None

        return _Listing(self._readers, self._snapshots, known), _Listing(self._readers, self._snapshots, devices)

    def _devices(self) -> Iterator[Link]:
        listed = 0
        for device in self._registry:
            if device.row.status == ACTIVE and listed < MAX_LISTED:
                listed += 1
                yield device_link(device)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def seen(self, device: Device, _observation: Observation) -> None:
        """The device has a new reading, on disk by now."""
        if device.row.kid in self._by_device:
            self._changed.add(device.row.kid)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._notify)

    def _notify(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        for kid in changed:
            for observer in tuple(self._by_device.get(kid, ())):
                if self._readers.is_busy(observer.remote):
                    # Nothing piles up for one who does not listen; aiocoap ends it after the last repeat.
                    self._changed.add(kid)
                else:
                    observer.observation.trigger()
        if self._changed:
            self._timer = asyncio.get_running_loop().call_later(BUSY_SECONDS, self._notify)

    # --- what aiocoap calls --------------------------------------------------------------------------------------

    async def needs_blockwise_assembly(self, request: Message) -> bool:
        return False

    async def render_to_pipe(self, pipe: Any) -> None:
        """Observe where there is room for it; else a plain GET, as RFC 7641 (4.1) has it."""
        request = pipe.request
        if request.opt.observe == 0 and self._may_observe(request):
            await aiocoap.interfaces.ObservableResource._render_to_pipe(self, pipe)
        else:
            await aiocoap.interfaces.Resource._render_to_pipe(self, pipe)

    def _may_observe(self, request: Message) -> bool:
        return (
            self._device(request) is not None
            and self._readers.may_read(request.remote)
            and self.observers < self._max_observers
            and self._by_source[self._readers.source(request.remote)] < max(1, self._max_observers // 4)
        )

    async def add_observation(self, request: Message, serverobservation: Any) -> None:
        device = self._device(request)
        assert device is not None
        observer = _Observer(serverobservation, request.remote, self._readers.source(request.remote))
        self._by_device.setdefault(device.row.kid, set()).add(observer)
        self._by_source[observer.source] += 1

        def ended() -> None:
            observers = self._by_device[device.row.kid]
            observers.discard(observer)
            if not observers:
                del self._by_device[device.row.kid]
            self._by_source[observer.source] -= 1
            if not self._by_source[observer.source]:
                del self._by_source[observer.source]

        serverobservation.accept(ended)

    async def render_get(self, request: Message) -> Message:
        if not self._readers.may_read(request.remote):
            return Message(code=Code.FORBIDDEN)
        device = self._device(request)
        if device is None:
            return Message(code=Code.NOT_FOUND)
        content_format = SENML_JSON if request.opt.accept is None else int(request.opt.accept)
        encode = FORMATS.get(content_format)
        if encode is None:
            return Message(code=Code.NOT_ACCEPTABLE)
        found = device

        def values(connection: sqlite3.Connection) -> dict[str, Reading]:
            return latest(connection, found.row.id)

        response = self._snapshots.respond(
            request,
            self._readers.block(request.remote),
            content_format,
            lambda: encode(found.row.kid, self._database.read(values)),
        )
        if request.opt.observe == 0:
            # Confirmable: who is not there to acknowledge is told no more (RFC 7641, 4.5).
            response.transport_tuning = Reliable
        return response

    def _device(self, request: Message) -> Device | None:
        path = request.opt.uri_path
        try:
            kid = bytes.fromhex(path[0]) if len(path) == 1 and len(path[0]) == 16 else b""
        except ValueError:
            return None
        device = self._registry.get(kid)
        return device if device is not None and device.row.status == ACTIVE else None
