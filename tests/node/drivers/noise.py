"""Drivers on buses that answer anything: the one thing they may raise is SensorError. On CPython and MicroPython.

`answer(count)` gives random bytes, or raises OSError where a transaction fails.
"""

from tests.node.drivers.buses import Clock, run

from thingroom_node.drivers.analog import Battery, Soil, Voltage
from thingroom_node.drivers.bh1750 import Bh1750
from thingroom_node.drivers.bme280 import Bme280
from thingroom_node.drivers.bmp280 import Bmp280
from thingroom_node.drivers.dht22 import Dht22
from thingroom_node.drivers.dps310 import Dps310
from thingroom_node.drivers.ds18b20 import Ds18b20
from thingroom_node.drivers.emc1413 import Emc1413
from thingroom_node.drivers.hx711 import Hx711
from thingroom_node.drivers.ina219 import Ina219
from thingroom_node.drivers.lm75 import Lm75, Tmp105
from thingroom_node.drivers.pms5003 import Pms5003
from thingroom_node.drivers.scd4x import Scd4x
from thingroom_node.drivers.sensor import SensorError
from thingroom_node.drivers.sht3x import Sht3x
from thingroom_node.drivers.sht4x import Sht4x
from thingroom_node.drivers.vl53l0x import Vl53l0x
from thingroom_wire import senml

ON_I2C = (Bme280, Bmp280, Sht3x, Sht4x, Scd4x, Lm75, Tmp105, Emc1413, Bh1750, Dps310, Ina219, Vl53l0x)


class NoisyI2c:
    def __init__(self, answer):
        self._answer = answer

    def scan(self):
        return list(self._answer(3))

    def writeto(self, address, data):
        self._answer(0)

    def writeto_mem(self, address, register, data):
        self._answer(0)

    def readfrom_into(self, address, buffer):
        buffer[:] = self._answer(len(buffer))

    def readfrom_mem_into(self, address, register, buffer):
        buffer[:] = self._answer(len(buffer))


class NoisyWire:
    def __init__(self, answer):
        self._answer = answer

    def reset(self):
        return self._answer(1)[0] & 1

    def scan(self):
        return [self._answer(8), b"\x28\x00\x00\x00\x00\x00\x00\x1e"]

    def select_rom(self, rom):
        self._answer(0)

    def writebyte(self, value):
        self._answer(0)

    def write(self, data):
        self._answer(0)

    def readinto(self, buffer):
        buffer[:] = self._answer(len(buffer))


class NoisyLine:
    """A UART, pins, an analogue pin."""

    def __init__(self, answer):
        self._answer = answer

    def write(self, data):
        return len(data)

    def any(self):
        return self._answer(1)[0]

    def read(self):
        return self._answer(40) if self._answer(1)[0] & 1 else None

    def readinto(self, buffer):
        buffer[:] = self._answer(5)

    def value(self):
        return self._answer(1)[0] & 1

    def millivolts(self):
        return self._answer(1)[0] * 20

    def on(self):
        return None

    def off(self):
        return None

    def pulse(self):
        return None


def sensors(answer, calm):
    """One of each on a noisy bus; what cannot fail, as pins cannot, asks `calm`."""
    bus, line = NoisyI2c(answer), NoisyLine(calm)
    made = [driver(bus) for driver in ON_I2C]
    made += [Ds18b20(NoisyWire(answer)), Dht22(NoisyLine(answer).readinto), Pms5003(line, warm_up=1), Hx711(line, line)]
    made += [Voltage(line), Soil(line), Battery(line)]
    return made


def disturb(sensor):
    """Probe and measure twice; what is measured has to make a SenML pack."""
    clock = Clock()
    for is_probe in (True, False, False):
        try:
            records = run(sensor.probe() if is_probe else sensor.measure(), clock)
        except SensorError as error:
            assert error.reason and str(error)
            if is_probe:
                force(sensor)
            continue
        if records:
            senml.encode_pack("urn:dev:mac:0123456789abcdef_", None, records)


def force(sensor):
    """What `probe` would have set, so that noise reaches the formulas, too."""
    if isinstance(sensor, (Bme280, Bmp280)):
        sensor._bosch._t, sensor._bosch._p = (
            (27504, 26435, -1000),
            (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000),
        )
        sensor._h = (75, 361, 0, 340, 50, 30)
    elif isinstance(sensor, Dps310):
        sensor._coefficients = (225, -547, 83492, -36183, -1787, 1233, -9401, 91, -1222)
    elif isinstance(sensor, Ds18b20):
        sensor._rom = bytes(8)
