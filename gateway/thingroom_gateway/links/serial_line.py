"""One serial line that is open: frames in and out, each acknowledged; answers one at a time, again until acknowledged.

May import thingroom_wire.frames, answers, ingest's values. serial_port.py opens the line and feeds it, serial.py owns
all lines. What the other end says is not believed: everything that it can make us keep is bounded here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from thingroom_gateway.answers import Pending
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import Registry
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.outcomes import Frame, FrameKind, Greeted, Link, Outcome
from thingroom_wire import frames

# Frames of one line that ingest may have at the same time: a node sends one at a time, a hub of nodes a few.
WINDOW: Final = 16
# Answers to hellos that wait for the line.
REPLIES: Final = 16
# What waits to be written at most, in bytes; beyond it nobody reads at the other end.
MAX_OUT: Final = 64 * 1024
# How long until an answer is sent again, in seconds, each time.
REPEAT_SECONDS: Final = (1.0, 2.0, 4.0)
# A line that is silent for so long is not in the midst of a frame.
SILENT_SECONDS: Final = 1.0
_KINDS: Final[dict[int, FrameKind]] = {frames.UP: "up", frames.HELLO: "hello", frames.ASK: "ask"}


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """The line that a frame came over, and the mark to acknowledge it by."""

    line: Line
    mark: bytes


@dataclass(slots=True)
class _Sent:
    """An answer that is not acknowledged yet."""

    data: bytes
    mark: bytes
    repeats: int
    due: float


class Line:
    """`write` puts bytes out, never blocks; `waiting()` says how many bytes have not gone out yet.

    `text` takes what is no frame. `clock` is monotonic, in seconds; whoever holds the line calls `tick` now and then.
    """

    def __init__(
        self,
        link: Link,
        ingest: Ingest,
        registry: Registry,
        counters: Counters,
        write: Callable[[bytes], None],
        waiting: Callable[[], int],
        text: Callable[[bytes], None],
        clock: Callable[[], float],
    ) -> None:
        self._link = link
        self._ingest = ingest
        self._registry = registry
        self._counters = counters
        self._write = write
        self._waiting = waiting
        self._text = text
        self._clock = clock
        self._reader = frames.FrameReader()
        self._heard_at = clock()
        # Marks of the frames that ingest has, and those it had no room for yet.
        self._under_way: set[bytes] = set()
        self._held: deque[Frame] = deque()
        self._replies: deque[bytes] = deque(maxlen=REPLIES)
        self._pending: dict[bytes, Pending] = {}
        self._awaited: _Sent | None = None
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """The line is gone: what comes out of ingest for it is said to nobody. Devices ask again."""
        self._closed = True
        self._held.clear()

    # --- in ----------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes that came over the line."""
        self._heard_at = self._clock()
        for item in self._reader.feed(data):
            self._take(item)

    def _take(self, item: Any) -> None:
        if isinstance(item, frames.Noise):
            if item.reason == "text":
                self._counters.add("serial.text_bytes", len(item.data))
            else:
                self._counters.add(f"serial.rejected.{item.reason}")
            self._text(item.data)
            return
        kind = _KINDS.get(item.kind)
        if kind is not None:
            self._offer(kind, item)
        elif item.kind == frames.ACKNOWLEDGED:
            if self._awaited is not None and item.payload == self._awaited.mark:
                self._awaited = None
                self._pump()
        elif item.kind == frames.PROBE and not item.payload:
            self._put(frames.acknowledgement(item.mark))
        else:
            self._counters.add("serial.rejected.unknown_kind")

    def _offer(self, kind: FrameKind, item: Any) -> None:
        if item.mark in self._under_way:
            # A repeat of what ingest has: its acknowledgement comes after the commit.
            self._counters.add("serial.repeated")
            return
        if len(self._under_way) >= WINDOW:
            self._counters.add("serial.busy")
            return
        self._under_way.add(item.mark)
        frame = Frame(kind, item.payload, "serial", Ticket(self, item.mark))
        if self._held or not self._ingest.offer(frame, self._link):
            self._held.append(frame)

    def resume(self) -> None:
        """Ingest has room again."""
        while self._held and self._ingest.offer(self._held[0], self._link):
            self._held.popleft()

    # --- out ---------------------------------------------------------------------------------------------------------

    def settle(self, mark: bytes, outcome: Outcome) -> None:
        """A frame of this line was judged and, where it was good, committed."""
        self._under_way.discard(mark)
        if self._closed:
            return
        self._put(frames.acknowledgement(mark))
        if type(outcome) is Greeted:
            self._replies.append(outcome.reply)
        elif (kid := getattr(outcome, "kid", None)) is not None:
            pending = self._pending.get(kid)
            if pending is None:
                pending = self._pending[kid] = Pending()
            pending.add(outcome)

    def send(self, data: bytes) -> bool:
        """Send a message down to whoever is at the other end; False if too many wait already."""
        if self._closed or len(self._replies) >= REPLIES:
            return False
        self._replies.append(data)
        self._pump()
        return True

    def answer(self) -> None:
        """After `settle` of all that was committed together: say what there is to say."""
        self._pump()

    def tick(self) -> None:
        """Repeat what is not acknowledged, give up what is not for long, and take for text what has no end."""
        now = self._clock()
        if now - self._heard_at >= SILENT_SECONDS:
            for item in self._reader.flush():
                self._take(item)
        sent = self._awaited
        if sent is None or now < sent.due:
            return
        if sent.repeats < len(REPEAT_SECONDS) - 1:
            sent.repeats += 1
            sent.due = now + REPEAT_SECONDS[sent.repeats]
            self._put(sent.data)
            return
        self._counters.add("serial.unheard")
        self._awaited = None
        self._pump()

    def _pump(self) -> None:
        if self._closed or self._awaited is not None:
            return
        message = self._next_message()
        if message is not None:
            data, mark = frames.encode_frame(frames.DOWN, message)
            self._awaited = _Sent(data, mark, 0, self._clock() + REPEAT_SECONDS[0])
            self._put(data)

    def _next_message(self) -> bytes | None:
        if self._replies:
            return self._replies.popleft()
        while self._pending:
            kid = next(iter(self._pending))
            pending, device = self._pending.pop(kid), self._registry.get(kid)
            if device is None:
                continue
            message = pending.take(device.row.downlink_key, kid)
            if pending:
                self._pending[kid] = pending
            return message
        return None

    def _put(self, data: bytes) -> None:
        if self._waiting() + len(data) > MAX_OUT:
            self._counters.add("serial.unread")
            return
        self._write(data)
