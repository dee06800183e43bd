"""A node's way to its gateway over a serial line: one frame at a time, each sent until it is acknowledged.

The frames are thingroom_wire/frames.py's business, the line is serial_port.py's. An acknowledgement here says only that
the gateway has judged the frame; what is forgotten, only its authenticated answer decides, as over any other link.
"""

import asyncio

from thingroom_node.links import LinkError
from thingroom_wire import frames

REPEAT_MS = 2000
MAX_REPEAT_MS = 16_000
REPEATS = 5
PROBE_MS = 1000
PROBES = 3
WRITE_MS = 10_000
WRITE_PAUSE_MS = 5
# No line takes more at once.
PIECE = 64


class SerialLink:
    """`open_port()` gives a serial_port.SerialPort; `uptime` is a callable for monotonic milliseconds."""

    def __init__(self, open_port, on_answer, uptime, repeat_ms=REPEAT_MS):
        self._open_port = open_port
        self._on_answer = on_answer
        self._uptime = uptime
        self._repeat_ms = repeat_ms
        self._port = None
        self._reader = None
        self._one_at_a_time = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._awaited = None
        self._failure = None
        self._acknowledged = asyncio.Event()
        self.ignored = 0

    async def connect(self):
        """Open the line and find a gateway at its other end. Raises LinkError."""
        self.close()
        self._port = self._open_port()
        self._reader = frames.FrameReader()
        self._failure = None
        listening = asyncio.create_task(self._listen())
        try:
            await self._deliver(frames.PROBE, b"", PROBE_MS, PROBES)
        except LinkError as error:
            failure = self._failure or error
        else:
            failure = None
        finally:
            listening.cancel()
        if failure is not None:
            self.close()
            raise failure

    async def serve(self):
        """Take what the gateway sends. Ends with a LinkError, never returns."""
        while True:
            await self._take(await self._port.read())

    async def send_envelope(self, data):
        """Send an envelope; the gateway has judged it on return. Raises LinkError."""
        await self._deliver(frames.UP, data, self._repeat_ms, REPEATS)

    async def send_hello(self, data):
        """Send a hello; as `send_envelope`."""
        await self._deliver(frames.HELLO, data, self._repeat_ms, REPEATS)

    async def send_ask(self, data):
        """Send a question for a block of an update; as `send_envelope`."""
        await self._deliver(frames.ASK, data, self._repeat_ms, REPEATS)

    def close(self):
        if self._port is not None:
            self._port.close()
        self._port = self._reader = None

    async def leave(self):
        """Close in good order: there is nobody to tell."""
        self.close()

    async def _deliver(self, kind, payload, repeat_ms, repeats):
        data, mark = frames.encode_frame(kind, payload)
        async with self._one_at_a_time:
            self._awaited = mark
            self._acknowledged.clear()
            try:
                for _ in range(repeats + 1):
                    await self._write(data)
                    try:
                        await asyncio.wait_for_ms(self._acknowledged.wait(), repeat_ms)
                    except asyncio.TimeoutError:
                        repeat_ms = min(2 * repeat_ms, MAX_REPEAT_MS)
                        continue
                    if self._failure is not None:
                        raise self._failure
                    return
            finally:
                self._awaited = None
        raise LinkError("no_acknowledgement")

    async def _write(self, data):
        """Write whole frames, each in one piece. A line that takes nothing for long is lost."""
        async with self._writing:
            at = 0
            until = self._uptime() + WRITE_MS
            while at < len(data):
                if self._port is None:
                    raise LinkError("closed")
                if self._port.may_write():
                    at += self._port.write(data[at : at + PIECE])
                elif self._uptime() >= until:
                    raise LinkError("write_timeout")
                else:
                    await asyncio.sleep_ms(WRITE_PAUSE_MS)

    async def _listen(self):
        """Serve while `connect` waits; a failure ends the waiting."""
        try:
            await self.serve()
        except LinkError as error:
            self._failure = error
            self._acknowledged.set()

    async def _take(self, data):
        for item in self._reader.feed(data):
            if isinstance(item, frames.Noise):
                self.ignored += 1
            elif item.kind == frames.ACKNOWLEDGED:
                if item.payload == self._awaited:
                    self._acknowledged.set()
            elif item.kind == frames.DOWN:
                # First: what it changes must not wait for a line that does not take the acknowledgement.
                self._on_answer(item.payload)
                await self._write(frames.acknowledgement(item.mark))
            else:
                self.ignored += 1
