"""What bench/cortex_m3.py counts, run as main.py on the emulated board: a start, then readings stored and signed.

Prints a line for each figure: name, tab, instructions. Each instruction takes a nanosecond there, and the processor's
clock ticks every 40 of them.
"""

import sys
import time

from thingroom_wire import ed25519

ed25519.prepare()
from thingroom_node import board_start, node  # noqa: E402
from thingroom_wire.cbor import Decimal  # noqa: E402
from thingroom_wire.senml import Record  # noqa: E402

INSTRUCTIONS_A_TICK = 40
ROUNDS = 7


def tell(name, ticks):
    """Print a figure."""
    print(name + "\t" + str(ticks * INSTRUCTIONS_A_TICK))


runner = board_start.make_runner()
tell("boot", time.ticks_cpu())
for number in range(ROUNDS):
    records = [Record("temperature", "Cel", Decimal(2150 + number, -2), 0)]
    begun = time.ticks_cpu()
    made = runner._numbering.number(records, runner._clock.now(), runner._commander.results)
    numbered = time.ticks_cpu()
    runner._outbox.append(made.sequence, made.protected, made.payload)
    runner._numbering.chain(made)
    stored = time.ticks_cpu()
    node.sign(runner._own, made.protected, made.payload)
    signed = time.ticks_cpu()
    tell("encode", time.ticks_diff(numbered, begun))
    tell("store", time.ticks_diff(stored, numbered))
    tell("sign", time.ticks_diff(signed, stored))
    tell("reading", time.ticks_diff(signed, begun))
sys.exit(0)
