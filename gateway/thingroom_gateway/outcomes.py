"""What goes into the one door and what comes out: frames and outcomes.

Pure values; imports the standard library only. links/ make frames, ingest.py turns each into one outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal, Protocol

Transport = Literal["mqtt", "coap", "serial", "plain"]
FrameKind = Literal["up", "hello", "ask"]
MAX_FRAME: Final = 8192


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes that a link received, nothing parsed. `ticket` is the link's own mark and comes back with the outcome.

    `arrived_at` is on the monotonic clock, in seconds.
    """

    kind: FrameKind
    payload: bytes
    transport: Transport
    ticket: object = None
    arrived_at: float = field(default_factory=monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The envelope is on disk now and was not before."""

    kid: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The device's sequence was on disk already; this copy is dropped and acknowledged again."""

    kid: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing came of the frame. `reason` is one of our own snake_case words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The device's signature is valid, the content unusable: the device is told to forget it."""

    kid: bytes
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """The device is above its quota: nothing is stored or acknowledged, it keeps the envelope and is quiet for a while.

    `pause` is how long, in ms.
    """

    kid: bytes
    sequence: int
    pause: int


@dataclass(frozen=True, slots=True)
class Greeted:
    """A hello, or a question for a block, was understood; `reply` is the COSE_Mac0 for the device.

    `paired` if it enrolled the device just now.
    """

    kid: bytes
    reply: bytes
    paired: bool = False


Outcome = Accepted | Duplicate | Rejected | Refused | Deferred | Greeted


class Link(Protocol):
    """A transport, as ingest sees it."""

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        """The fates of frames that this link offered, in the order it offered them; after the commit. Never blocks."""

    def resume(self) -> None:
        """`Ingest.offer` refused a frame of this link; there is room again."""
