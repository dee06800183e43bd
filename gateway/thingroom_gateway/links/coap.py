"""The CoAP link: POST /up and POST /hello, answered when the envelope is on disk (RFC 7252, RFC 7959).

May import aiocoap, ingest's values, answers. Block-wise requests are assembled here, within bounds, because aiocoap's
own assembly has none; what one address may ask is in coap_sources.py and coap_guard.py, what programs may read in
coap_latest.py, what devices observe in coap_down.py.
Refusals are those of docs/wire_format.md, Transports.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from time import monotonic
from typing import Any

import aiocoap
import aiocoap.resource
from aiocoap import Code, Message

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database
from thingroom_gateway.answers import Pending
from thingroom_gateway.config import CoapConfig
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.links.coap_down import COSE_MAC0, COSE_SIGN1, Down, Registered
from thingroom_gateway.links.coap_guard import Guard, source_of_remote
from thingroom_gateway.links.coap_latest import Latest, Readers, Snapshots
from thingroom_gateway.links.coap_sources import Network, Sources, is_within
from thingroom_gateway.outcomes import MAX_FRAME, Deferred, Frame, FrameKind, Greeted, Outcome, Rejected
from thingroom_wire.hello import is_pairing_hello, parse_hello

logger = logging.getLogger(__name__)

MAX_ASSEMBLIES = 64
# Of one address.
MAX_OWN_ASSEMBLIES = 8
ASSEMBLY_SECONDS = 60.0
# How long a device waits for a commit before it is told to come back.
COMMIT_SECONDS = 20.0
MAX_AGE_BUSY = 5
_UNAUTHORISED = frozenset(
    {
        "unknown_device",
        "revoked_device",
        "bad_signature",
        "wrong_pairing_code",
        "pairing_closed",
        "other_shard",
        "other_gateway",
    }
)
_UNAVAILABLE = frozenset({"not_stored"})


@dataclass(slots=True)
class _Assembly:
    data: bytearray
    touched: float


@dataclass(frozen=True, slots=True)
class Whole:
    """A complete request payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Partial:
    """What to answer to one block: 2.31 Continue, 4.08 or 4.13."""

    code: Any


class Assemblies:
    """Block1 assembly (RFC 7959, 2.5) bounded in size, number and time."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[object, _Assembly] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def feed(
        self, key: object, number: int, more: bool, start: int, block: bytes, announced: int | None
    ) -> Whole | Partial:
        """One block: its number, whether more follow, the offset it claims, its bytes, and the announced total."""
        now = self._clock()
        while self._open and next(iter(self._open.values())).touched < now - ASSEMBLY_SECONDS:
            self._open.popitem(last=False)
        if (announced or 0) > MAX_FRAME or start + len(block) > MAX_FRAME:
            self._open.pop(key, None)
            return Partial(Code.REQUEST_ENTITY_TOO_LARGE)
        if number == 0:
            self._open.pop(key, None)
            own = [other for other in self._open if isinstance(key, tuple) and other[0] == key[0]]  # type: ignore[index]
            if len(own) >= MAX_OWN_ASSEMBLIES:
                del self._open[own[0]]
            assembly = self._open[key] = _Assembly(bytearray(), now)
        else:
            found = self._open.get(key)
            if found is None or start != len(found.data):
                self._open.pop(key, None)
                return Partial(Code.REQUEST_ENTITY_INCOMPLETE)
            assembly = found
        assembly.data += block
        assembly.touched = now
        self._open.move_to_end(key)
        if not more:
            del self._open[key]
            return Whole(bytes(assembly.data))
        while len(self._open) > MAX_ASSEMBLIES:
            self._open.popitem(last=False)
        return Partial(Code.CONTINUE)


class CoapLink:
    """Owns the CoAP server context and the requests that wait for a commit."""

    def __init__(
        self, config: CoapConfig, ingest: Ingest, registry: Registry, counters: Counters, database: Database
    ) -> None:
        """Raises ConfigError for networks that are none."""
        self._host = config.host
        self._port = config.port
        self._ingest = ingest
        self._registry = registry
        self._counters = counters
        # What else goes into an answer to a device: its commands.
        self.commands: Callable[[Device], list[bytes]] = lambda _device: []
        self._readers = _networks("readers", config.readers)
        unlimited = _networks("unlimited", config.unlimited)
        self._sources = Sources(config.requests_per_second, config.burst, unlimited, monotonic)
        self._guard = Guard(self._sources, counters)
        self._context: aiocoap.Context | None = None
        readers = Readers(self._may_read, self._is_known, source_of_remote, self._guard.is_busy)
        self.latest = Latest(database, registry, readers, Snapshots(), config.observers)
        self.down = Down(self._register, self._guard.is_busy, config.down)

    def prepare(self, config: CoapConfig) -> Callable[[], None]:
        """What makes the readers and allowances of `config` count. Raises ConfigError for networks that are none."""
        readers, unlimited = _networks("readers", config.readers), _networks("unlimited", config.unlimited)

        def apply() -> None:
            self._readers = readers
            self._sources.change(config.requests_per_second, config.burst, unlimited)

        return apply

    async def open(self) -> None:
        """Listen. Raises OSError, and ConfigError for an aiocoap that cannot be kept within bounds."""
        site = aiocoap.resource.Site()
        core, devices = self.latest.listings()
        site.add_resource([".well-known", "core"], core)
        site.add_resource(["latest"], devices)
        site.add_resource(["latest"], self.latest)
        assemblies = Assemblies()
        site.add_resource(["up"], _Door(self, "up", assemblies))
        site.add_resource(["hello"], _Door(self, "hello", assemblies))
        site.add_resource(["ask"], _Door(self, "ask", assemblies))
        site.add_resource(["down"], self.down)
        logging.getLogger("coap-server").addFilter(self._guard.heard_of)
        # aiocoap's simple transport needs one address, its full one needs IPv6 in the kernel.
        transport = "udp6" if self._host in ("", "0.0.0.0", "::") else "simplesocketserver"  # noqa: S104
        self._context = await aiocoap.Context.create_server_context(
            site, bind=(self._host or None, self._port), transports=[transport]
        )
        try:
            self._guard.attach(self._context)
        except ConfigError:
            await self.close()
            raise

    def _may_read(self, remote: Any) -> bool:
        return is_within(source_of_remote(remote), self._readers)

    def _is_known(self, remote: Any) -> bool:
        return self._sources.is_known(source_of_remote(remote))

    async def close(self) -> None:
        self.latest.close()
        logging.getLogger("coap-server").removeFilter(self._guard.heard_of)
        if self._context is not None:
            await self._context.shutdown()
            self._context = None

    def enrolled(self, device: Device) -> None:
        """The device has changed: one that may not speak hears nothing more, either."""
        if device.row.status != ACTIVE:
            self.down.close(device.row.kid)

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        for frame, outcome in settled:
            future = frame.ticket
            assert isinstance(future, asyncio.Future)
            if not future.done():
                future.set_result(outcome)

    def resume(self) -> None:
        """Nothing is held back here: a device that found no room was told to come again."""

    async def submit(self, kind: FrameKind, payload: bytes, remote: Any) -> Message:
        """The response to a complete request."""
        judged = await self._judge(kind, payload, remote)
        return judged if isinstance(judged, Message) else self._response(judged)

    async def _register(self, request: Message) -> Registered | Message:
        """Who wants to observe its way down; only a device whose hello is understood."""
        if request.opt.content_format not in (None, COSE_SIGN1):
            return Message(code=Code.UNSUPPORTED_CONTENT_FORMAT)
        if is_pairing_hello(request.payload):
            return _refusal("unknown_device")
        judged = await self._judge("hello", request.payload, request.remote)
        if isinstance(judged, Message) or type(judged) is not Greeted:
            return judged if isinstance(judged, Message) else self._response(judged)
        hello = parse_hello(request.payload).hello
        return Registered(judged.kid, judged.reply, (hello.boot, hello.uptime))

    async def _judge(self, kind: FrameKind, payload: bytes, remote: Any) -> Outcome | Message:
        """What ingest says of a request, or the response to one that it could not look at."""
        source = source_of_remote(remote)
        if not self._sources.enter(source):
            return self._busy("too_many_waiting")
        try:
            return await self._offer(kind, payload, source)
        finally:
            self._sources.leave(source)

    async def _offer(self, kind: FrameKind, payload: bytes, source: str) -> Outcome | Message:
        if self._ingest.stalled:
            return self._busy("stalled")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if not self._ingest.offer(Frame(kind, payload, "coap", future), self):
            return self._busy("no_room")
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                outcome = await future
        except TimeoutError:
            return self._busy("slow_commit")
        if type(outcome) is not Rejected:
            self._sources.trust(source)
        return outcome

    def count_too_large(self) -> None:
        """A block-wise request was cut short."""
        self._counters.add("coap.rejected.too_large")

    def _busy(self, why: str) -> Message:
        self._counters.add(f"coap.busy.{why}")
        response = Message(code=Code.SERVICE_UNAVAILABLE)
        response.opt.max_age = MAX_AGE_BUSY
        return response

    def _response(self, outcome: Outcome) -> Message:
        if type(outcome) is Rejected:
            return _refusal(outcome.reason)
        if type(outcome) is Deferred:
            response = Message(code=Code.SERVICE_UNAVAILABLE, payload=b"over_quota")
            response.opt.max_age = -(-outcome.pause // 1000)
            return response
        if type(outcome) is Greeted:
            payload = outcome.reply
        else:
            kid: bytes = outcome.kid  # type: ignore[union-attr]
            device = self._registry.get(kid)
            if device is None:
                return _refusal("unknown_device")
            pending = Pending()
            pending.add(outcome)
            payload = pending.take(device.row.downlink_key, kid, self.commands(device))
        return Message(code=Code.CHANGED, payload=payload, content_format=COSE_MAC0)


def _networks(key: str, texts: tuple[str, ...]) -> list[Network]:
    """Raises ConfigError."""
    try:
        return [ip_network(text) for text in texts]
    except ValueError as error:
        raise ConfigError(f"{error}: change {key} in [gateway.coap].") from None


def _refusal(reason: str) -> Message:
    """The reason is one of our own words; it goes back as the diagnostic payload (RFC 7252, 5.5.2)."""
    if reason == "too_large":
        response = Message(code=Code.REQUEST_ENTITY_TOO_LARGE, payload=reason.encode())
        response.opt.size1 = MAX_FRAME
        return response
    if reason in _UNAVAILABLE:
        response = Message(code=Code.SERVICE_UNAVAILABLE, payload=reason.encode())
        response.opt.max_age = MAX_AGE_BUSY
        return response
    code = Code.UNAUTHORIZED if reason in _UNAUTHORISED else Code.BAD_REQUEST
    return Message(code=code, payload=reason.encode())


class _Door(aiocoap.resource.Resource):  # type: ignore[misc]
    """POST /up, POST /hello or POST /ask."""

    def __init__(self, link: CoapLink, kind: FrameKind, assemblies: Assemblies) -> None:
        super().__init__()
        self._link = link
        self._kind: FrameKind = kind
        self._assemblies = assemblies
        self.ct = COSE_SIGN1

    async def needs_blockwise_assembly(self, request: Message) -> bool:
        return False

    async def render_post(self, request: Message) -> Message:
        if request.opt.content_format not in (None, COSE_SIGN1, COSE_MAC0):
            return Message(code=Code.UNSUPPORTED_CONTENT_FORMAT)
        block = request.opt.block1
        if block is None:
            return await self._link.submit(self._kind, request.payload, request.remote)
        key = (source_of_remote(request.remote), request.remote.blockwise_key, self._kind, request.opt.content_format)
        result = self._assemblies.feed(
            key, block.block_number, block.more, block.start, request.payload, request.opt.size1
        )
        if isinstance(result, Partial) and result.code != Code.CONTINUE:
            # Without the Block1 option: a client must not go on with this transfer.
            if result.code == Code.REQUEST_ENTITY_TOO_LARGE:
                self._link.count_too_large()
                return _refusal("too_large")
            return Message(code=result.code)
        if isinstance(result, Whole):
            response = await self._link.submit(self._kind, result.payload, request.remote)
        else:
            response = Message(code=Code.CONTINUE)
        response.opt.block1 = block
        return response
