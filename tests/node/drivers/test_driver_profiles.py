"""What each driver tells is what the device profile of its part knows: names, units, kinds, ranges."""

from decimal import Decimal as Exact

import pytest
from tests.node.drivers import cases_bosch, cases_i2c, cases_lines, cases_sensirion
from tests.node.drivers.buses import Clock, I2c, Pin, Registers, Words, as_text, run

from thingroom_gateway.profiles import load_profiles
from thingroom_node.drivers import analog, contact, pulses
from thingroom_node.drivers.bh1750 import Bh1750
from thingroom_node.drivers.dht22 import Dht22
from thingroom_node.drivers.dps310 import Dps310
from thingroom_node.drivers.ds18b20 import Ds18b20
from thingroom_node.drivers.emc1413 import Emc1413
from thingroom_node.drivers.hx711 import Hx711
from thingroom_node.drivers.ina219 import Ina219
from thingroom_node.drivers.lm75 import Lm75, Tmp105
from thingroom_node.drivers.pms5003 import Pms5003
from thingroom_node.drivers.scd4x import Scd4x
from thingroom_node.drivers.vl53l0x import Vl53l0x
from thingroom_node.equipment import SENSORS

# Where a driver's name is not its profile's.
PROFILES = {"tmp105": "lm75", "contact": "door"}


def _sensor(name: str, clock: Clock) -> object:
    """The driver `name` on a chip that works."""
    words = cases_sensirion.words
    scale = cases_lines.Scale(clock, 100_000)
    motion = Pin(1)
    motion.was_active = lambda: True  # type: ignore[attr-defined]

    def dht(buffer: bytearray) -> None:
        buffer[:] = b"\x02\x8c\x01\x5f\xee"

    def counting(meter: type) -> object:
        return meter(cases_lines.Counter(), cases_lines.Memory(8_123_456), clock.uptime)

    made = {
        "bme280": lambda: cases_bosch.bme280(30000),
        "bmp280": cases_bosch.bmp280,
        "sht3x": lambda: cases_sensirion.sht3x(words(0x6666, 0x8000)),
        "sht4x": lambda: cases_sensirion.sht4x(words(0x6666, 0x8000)),
        "scd4x": lambda: Scd4x(I2c({0x62: cases_sensirion.Scd41(clock)})),
        "lm75": lambda: Lm75(I2c({0x48: Words({0: 0x1900, 1: 0})})),
        "tmp105": lambda: Tmp105(I2c({0x48: Words({0: 0x1900, 1: 0})})),
        "emc1413": lambda: Emc1413(I2c({0x4C: Registers([(0xFD, b"\x21\x5d")])})),
        "bh1750": lambda: Bh1750(I2c({0x23: cases_i2c.Bh1750Chip(clock, 400)})),
        "dps310": lambda: Dps310(I2c({0x77: cases_i2c.Dps310Chip(clock)})),
        "ina219": lambda: Ina219(I2c({0x40: cases_i2c.Ina219Chip(clock)})),
        "vl53l0x": lambda: Vl53l0x(I2c({0x29: cases_i2c.Vl53l0xChip(clock, 1234)})),
        "ds18b20": lambda: Ds18b20(
            cases_lines.OneWire({cases_lines.rom_of(1): cases_lines.Thermometer(clock, 0x0191)})
        ),
        "dht22": lambda: Dht22(dht),
        "pms5003": lambda: Pms5003(cases_lines.DustSensor(clock)),
        "hx711": lambda: Hx711(scale, scale),
        "adc": lambda: analog.Voltage(cases_lines.Analog(1652)),
        "soil": lambda: analog.Soil(cases_lines.Analog(1652)),
        "battery": lambda: analog.Battery(cases_lines.Analog(1952)),
        "water_meter": lambda: counting(pulses.WaterMeter),
        "energy_meter": lambda: counting(pulses.EnergyMeter),
        "contact": lambda: contact.Contact(Pin(1)),
        "motion": lambda: contact.Motion(motion),
    }[name]()
    return made


@pytest.mark.parametrize("name", SENSORS)
def test_what_a_driver_tells_fits_its_profile(name: str) -> None:
    clock = Clock()
    sensor = _sensor(name, clock)
    if isinstance(sensor, tuple):
        clock, sensor = sensor
    run(sensor.probe(), clock)
    records = run(sensor.measure(), clock)
    profile = load_profiles()[PROFILES.get(name, name)]
    assert records
    for record in records:
        quantity = profile.quantities[record.name]
        assert (record.unit or None) == quantity.unit
        if quantity.kind == "boolean":
            assert isinstance(record.value, bool)
        else:
            value = Exact(as_text(record.value))
            assert quantity.minimum is None or quantity.minimum <= value
            assert quantity.maximum is None or value <= quantity.maximum
    optional = {"battery", "battery_level", "illuminance"} if name in ("soil", "contact", "motion") else set()
    assert set(profile.quantities) - {record.name for record in records} <= optional
