"""What Adafruit's asyncio asks of its ticks library, from the module time."""

from time import ticks_add, ticks_diff, ticks_ms
