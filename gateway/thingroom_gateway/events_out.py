"""Notable events as JSON lines on standard output, for the live screen of `thingroom run`.

Never blocks the gateway: lines go through a bounded queue to a thread, and are dropped when nobody reads. Logs go to
standard error. May import the standard library only.
"""

from __future__ import annotations

import json
import queue
import threading
from typing import TextIO

MAX_WAITING = 2000


class EventsOut:
    """Writes to `stream`; with None it does nothing."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._write, name="events", daemon=True)
        if stream is not None:
            self._thread.start()

    @property
    def wanted(self) -> bool:
        return self._stream is not None

    def emit(self, event: str, **fields: object) -> None:
        """One line: {"event": event, ...}. Dropped if the reader is too slow."""
        if self._stream is None:
            return
        line = json.dumps({"event": event, **fields}, ensure_ascii=False)
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def close(self) -> None:
        """Write what waits, for a second at most."""
        if self._stream is None:
            return
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=1)

    def _write(self) -> None:
        assert self._stream is not None
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None
                return
