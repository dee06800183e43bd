"""What Adafruit's asyncio asks of CircuitPython's traceback."""

import sys


def print_exception(error, *_):
    sys.print_exception(error)
