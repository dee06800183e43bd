"""The firmware on MicroPython's unix port, with a board around it: `main.py NODE.JSON PARTS_FOLDER`.

What stands for `machine` here has an I2C bus with a TMP105, whose temperature is in the file `tmp105`, and pins, whose
levels are written into files `pin0`, `pin1`: the firmware's own drivers read and write them.
"""

import asyncio
import gc
import sys

from thingroom_wire import ed25519

gc.threshold(16_384)
ed25519.prepare()

from thingroom_node import unix_node  # noqa: E402
from thingroom_node.hardware import Hardware  # noqa: E402
from thingroom_node.settings import parse_settings  # noqa: E402

ADDRESS = 0x48
BOARD = {"buses": [{"kind": "i2c", "name": "i2c0", "id": 0}]}


class I2C:
    """One TMP105 (SBOS648, 7.5): register 0 is the temperature in 1/256 °C, register 1 the configuration."""

    def __init__(self, number, freq=100_000):
        self._registers = {}

    def scan(self):
        return [ADDRESS]

    def readfrom_mem(self, address, register, count, addrsize=8):
        self._check(address)
        if register == 0:
            with open(PARTS + "/tmp105") as file:
                return (int(file.read()) & 0xFFFF).to_bytes(2, "big")
        return bytes(self._registers.get(register, bytes(count)))

    def readfrom_mem_into(self, address, register, buffer, addrsize=8):
        buffer[:] = self.readfrom_mem(address, register, len(buffer))

    def writeto_mem(self, address, register, data, addrsize=8):
        self._check(address)
        self._registers[register] = bytes(data)

    def _check(self, address):
        if address != ADDRESS:
            raise OSError(19)


class Pin:
    """An output whose level is in a file."""

    IN, OUT = 0, 1

    def __init__(self, number, mode=OUT, pull=None, value=None):
        self._path = PARTS + "/pin{}".format(number)
        self._level = 0
        if value is not None:
            self.value(value)

    def value(self, level=None):
        if level is None:
            return self._level
        self._level = level
        with open(self._path, "w") as file:
            file.write(str(level))


class Machine:
    """What hardware.py asks of the module of that name."""

    I2C = I2C
    Pin = Pin


PARTS = sys.argv[2]
with open(sys.argv[1]) as settings_file:
    settings = parse_settings(settings_file.read(4096))
runner = unix_node.make_runner(settings, unix_node.emit, Hardware(BOARD, Machine, __import__))
gc.threshold(-1)
asyncio.run(runner.run())
