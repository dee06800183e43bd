"""The process that draws: `python -m thingroom_gateway.charts.worker`, charts in on stdin, pictures out on stdout.

Each message is a byte (0 a request, 1 a picture, 2 a sentence on what went wrong), four bytes of length, and the
content. Ends when its input ends. May import chart, draw and process.
"""

from __future__ import annotations

import signal
import sys

import msgspec

from thingroom_gateway.charts.chart import Chart
from thingroom_gateway.charts.process import HEAD, OK

NOT_DRAWN = 2
MISSING = "charts need matplotlib, which is not installed here: pip install matplotlib"


def main() -> None:
    """Draw until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := requests.read(HEAD.size):
        _, length = HEAD.unpack(head)
        ok, content = answer(requests.read(length))
        answers.write(HEAD.pack(ok, len(content)) + content)
        answers.flush()


def answer(request: bytes) -> tuple[int, bytes]:
    """A picture, or what went wrong."""
    try:
        from thingroom_gateway.charts.draw import render
    except ImportError:
        return NOT_DRAWN, MISSING.encode()
    try:
        return OK, render(msgspec.json.decode(request, type=Chart))
    except (msgspec.ValidationError, ValueError, KeyError, OSError) as error:
        return NOT_DRAWN, f"the chart could not be drawn: {error}".encode()


if __name__ == "__main__":
    main()
