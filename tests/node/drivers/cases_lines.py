"""What is on lines of its own: DS18B20, DHT22, PMS5003, HX711, analogue pins, pulses, contacts."""

from binascii import hexlify

from tests.node.drivers.buses import ETIMEDOUT, Clock, Pin, failure, run, told

from thingroom_node.drivers.analog import CURVES, Battery, Soil, Voltage, percent_left
from thingroom_node.drivers.contact import Contact, Motion
from thingroom_node.drivers.dht22 import Dht22
from thingroom_node.drivers.ds18b20 import Ds18b20, crc8
from thingroom_node.drivers.hx711 import Hx711
from thingroom_node.drivers.pms5003 import Pms5003
from thingroom_node.drivers.pulses import EnergyMeter, WaterMeter


def rom_of(number, family=0x28):
    rom = bytes((family, number, 2, 3, 4, 5, 6))
    return rom + bytes((crc8(rom),))


class OneWire:
    """Like MicroPython's onewire.OneWire, with sensors on it. `parts`: {rom: Thermometer}."""

    def __init__(self, parts):
        self.parts = parts
        self._selected = None
        self._written = None

    def reset(self):
        self._selected = None
        return bool(self.parts)

    def scan(self):
        return [bytearray(rom) for rom in sorted(self.parts)]

    def select_rom(self, rom):
        self._selected = self.parts.get(bytes(rom))

    def writebyte(self, command):
        if self._selected is not None:
            self._selected.command(command)

    def write(self, data):
        if self._selected is not None:
            self._selected.write(data)

    def readinto(self, buffer):
        data = self._selected.scratchpad() if self._selected is not None else b"\xff" * 9
        buffer[:] = data


class Thermometer:
    """A DS18B20 with its scratchpad; without power for an instant it forgets all but its EEPROM."""

    def __init__(self, clock, word):
        self._clock = clock
        self.word = word
        self.damage = 0
        self.dip()

    def dip(self):
        self._memory = bytearray(b"\x50\x05\x4b\x46\x7f\xff\x0c\x10")
        self._ready_at = None

    def command(self, number):
        if number == 0x44:
            bits = 9 + (self._memory[4] >> 5 & 3)
            self._ready_at = self._clock.now + (94, 188, 375, 750)[bits - 9]
        else:
            assert number in (0xBE, 0x4E)

    def write(self, data):
        self._memory[2:5] = data

    def scratchpad(self):
        if self._ready_at is not None and self._clock.now >= self._ready_at:
            self._memory[0:2] = bytes((self.word & 0xFF, self.word >> 8))
            self._ready_at = None
        data = bytes(self._memory) + bytes((crc8(self._memory),))
        if self.damage:
            self.damage -= 1
            return b"\xff" + data[1:] if data[0] != 0xFF else b"\x00" + data[1:]
        return data


# Data sheet 19-7487, table 1.
DS18B20_TABLE = (
    (0x07D0, "125.0000"),
    (0x0550, "85.0000"),
    (0x0191, "25.0625"),
    (0x00A2, "10.1250"),
    (0x0008, "0.5000"),
    (0x0000, "0.0000"),
    (0xFFF8, "-0.5000"),
    (0xFF5E, "-10.1250"),
    (0xFE6F, "-25.0625"),
    (0xFC90, "-55.0000"),
)


def case_ds18b20_the_table_of_the_data_sheet():
    for word, expected in DS18B20_TABLE:
        clock = Clock()
        sensor = Ds18b20(OneWire({rom_of(1): Thermometer(clock, word)}))
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock)) == {"temperature": expected + " Cel"}
        assert clock.now == 750


def case_ds18b20_with_fewer_bits_is_faster():
    for bits, expected, took in ((9, "25.0", 94), (10, "25.00", 188), (11, "25.000", 375)):
        clock = Clock()
        sensor = Ds18b20(OneWire({rom_of(1): Thermometer(clock, 0x0191)}), bits=bits)
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock)) == {"temperature": expected + " Cel"} and clock.now == took


def case_ds18b20_85_degrees_before_measuring_is_an_error():
    clock = Clock()
    part = Thermometer(clock, 0x0191)
    sensor = Ds18b20(OneWire({rom_of(1): part}))
    run(sensor.probe(), clock)
    steps = sensor.measure()
    next(steps)
    part.dip()
    assert failure(steps, clock)[1] == "the DS18B20 lost its power while it measured"
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock)) == {"temperature": "25.0625 Cel"}


def case_ds18b20_several_on_a_wire():
    clock = Clock()
    parts = {rom_of(1): Thermometer(clock, 0x0191), rom_of(2): Thermometer(clock, 0xFFF8)}
    parts[rom_of(9, family=0x10)] = None
    wire = OneWire(parts)
    names = [hexlify(rom_of(number)).decode() for number in (1, 2)]
    reason, sentence = failure(Ds18b20(wire).probe(), clock)
    assert reason == "absent" and names[0] in sentence and names[1] in sentence and "2 DS18B20" in sentence
    sensor = Ds18b20(wire, rom=names[1])
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock)) == {"temperature": "-0.5000 Cel"}
    assert failure(Ds18b20(wire, rom="28" + 14 * "0").probe(), clock)[0] == "absent"


def case_ds18b20_noise_on_the_wire():
    clock = Clock()
    part = Thermometer(clock, 0x0191)
    wire = OneWire({rom_of(1): part})
    sensor = Ds18b20(wire)
    run(sensor.probe(), clock)
    part.damage = 2
    assert run(sensor.measure(), clock)
    part.damage = 3
    assert failure(sensor.measure(), clock)[0] == "checksum"
    part.damage = 0
    wire.parts.clear()
    assert failure(sensor.measure(), clock)[0] == "no_answer"
    assert failure(sensor.probe(), clock)[0] == "absent"


def case_dht22_the_example_of_the_data_sheet():
    # AM2302: 0000 0010 1000 1100 is 65.2 %, 0000 0001 0101 1111 is 35.1 °C, sum 1110 1110.
    for answer, expected in (
        (b"\x02\x8c\x01\x5f\xee", ("35.1 Cel", "65.2 %RH")),
        (b"\x02\x8c\x80\x65\x73", ("-10.1 Cel", "65.2 %RH")),
        (b"\x00\x00\x00\x00\x00", ("0.0 Cel", "0.0 %RH")),
    ):
        clock = Clock()
        asked = []

        def readinto(buffer, answer=answer, asked=asked, clock=clock):
            assert not asked or clock.now - asked[-1] >= 2000, "asked too soon"
            asked.append(clock.now)
            # What it says is what it measured when it was last asked.
            buffer[:] = answer if len(asked) % 2 else b"\x01\x00\x00\x00\x01"
            if len(asked) == 3:
                buffer[:] = answer

        sensor = Dht22(readinto)
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock)) == {"temperature": expected[0], "humidity": expected[1]}
        assert len(asked) == 3


def case_dht22_lost_bits_and_no_answer():
    clock = Clock()

    def wrong(buffer):
        buffer[:] = b"\x02\x8c\x01\x5f\xef"

    def absent(buffer):
        raise OSError(ETIMEDOUT)

    assert failure(Dht22(wrong).measure(), clock)[0] == "checksum"
    assert failure(Dht22(absent).probe(), clock)[0] == "absent"


# A frame that users of such a sensor published: 5, 13 and 22 µg/m³.
PMS5003_FRAME = (
    b"\x42\x4d\x00\x1c\x00\x05\x00\x0d\x00\x16\x00\x05\x00\x0d\x00\x16"
    b"\x02\xfd\x00\xfc\x00\x1d\x00\x0f\x00\x06\x00\x06\x97\x00\x03\xc5"
)


class DustSensor:
    """Its end of the UART: asleep, active or passive, answering to what the manual's appendix lists."""

    def __init__(self, clock, frame=PMS5003_FRAME):
        self._clock = clock
        self._frame = frame
        self._out = b""
        self.is_asleep = True
        self.is_passive = False
        self.woke_at = 0
        self.asked_after = None

    def write(self, data):
        assert sum(data[:-2]) == data[-2] << 8 | data[-1] and data[:2] == b"\x42\x4d"
        command, argument = data[2], data[4]
        if command == 0xE4:
            self.is_asleep = not argument
            if argument:
                self.woke_at = self._clock.now
                self.is_passive = False
                self._out += b"\x17" + self._frame[:9]
        elif not self.is_asleep and command == 0xE1:
            self.is_passive = not argument
            self._out += b"\x42\x4d\x00\x04\xe1\x00\x01\x74"
        elif not self.is_asleep and command == 0xE2:
            assert self.is_passive
            self.asked_after = self._clock.now - self.woke_at
            self._out += self._frame

    def any(self):
        return min(len(self._out), 20)

    def read(self):
        data, self._out = self._out[:20], self._out[20:]
        return data or None


def case_pms5003_a_recorded_frame():
    clock = Clock()
    line = DustSensor(clock)
    sensor = Pms5003(line)
    run(sensor.probe(), clock)
    assert line.is_asleep
    assert told(run(sensor.measure(), clock)) == {"pm1": "5 ug/m3", "pm25": "13 ug/m3", "pm10": "22 ug/m3"}
    assert line.is_asleep and line.asked_after >= 30_000


def case_pms5003_that_never_sleeps():
    clock = Clock()
    line = DustSensor(clock)
    sensor = Pms5003(line, warm_up=0)
    run(sensor.probe(), clock)
    started = clock.now
    assert len(run(sensor.measure(), clock)) == 3 and not line.is_asleep and clock.now - started < 500


def case_pms5003_noise_and_silence():
    clock = Clock()
    line = DustSensor(clock, PMS5003_FRAME[:-1] + b"\x00")
    reason, sentence = failure(Pms5003(line).probe(), clock)
    assert reason == "checksum" and "9600" in sentence
    assert failure(Pms5003(line).measure(), clock)[0] == "checksum" and line.is_asleep
    line = DustSensor(clock, b"")
    line.write = lambda data: None
    assert failure(Pms5003(line).probe(), clock)[0] == "absent"


class Scale:
    """Data and clock of an HX711; ready 400 ms after it was turned on."""

    def __init__(self, clock, number):
        self._time = clock
        self.number = number
        self.is_on = False
        self._bits = None

    def off(self):
        self.is_on = True
        self._bits = None
        self._ready_at = self._time.now + 400

    def on(self):
        self.is_on = False

    def pulse(self):
        assert self.is_on
        if self._bits is None:
            assert self._time.now >= self._ready_at
            self._bits = [self.number >> (23 - place) & 1 for place in range(24)]
        self._current = self._bits.pop(0) if self._bits else 1

    def value(self):
        if self._bits is None:
            return 0 if self.is_on and self._time.now >= self._ready_at else 1
        return self._current


def case_hx711_weighs():
    for raw, expected in ((0x0186A0, "1.000"), (0, "0.000"), (0xFF3CB0, "-0.500"), (3_426_800, "34.268")):
        clock = Clock()
        scale = Scale(clock, raw)
        sensor = Hx711(scale, scale)
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock)) == {"weight": expected + " kg"} and not scale.is_on
    sensor = Hx711(scale, scale, zero=3_426_800 + 20_000, per_kg=-20_000)
    assert told(run(sensor.measure(), clock)) == {"weight": "1.000 kg"}


def case_hx711_broken_wires_and_nothing_there():
    clock = Clock()
    for raw in (0x7FFFFF, 0x800000):
        scale = Scale(clock, raw)
        assert failure(Hx711(scale, scale).measure(), clock)[0] == "implausible"
    for level, reason in ((0, "absent"), (1, "not_ready")):
        scale = Scale(clock, 0)
        assert failure(Hx711(Pin(level), scale).measure(), clock)[0] == reason and not scale.is_on


class Analog:
    def __init__(self, *samples):
        self._samples = samples
        self._next = 0

    def millivolts(self):
        self._next += 1
        return self._samples[self._next % len(self._samples)]


def case_voltages_are_a_median_behind_a_divider():
    assert told(Voltage(Analog(1652)).read()) == {"voltage": "1.652 V"}
    # A spike of the radio does not count.
    assert told(Voltage(Analog(1000, 1002, 3300), divider=(100, 100)).read()) == {"voltage": "2.004 V"}
    assert run(Voltage(Analog(1)).measure(), Clock())


def case_soil_from_dry_to_wet():
    for millivolts, expected in ((2800, "0.0"), (3300, "0.0"), (1200, "100.0"), (0, "100.0"), (2000, "50.0")):
        assert told(Soil(Analog(millivolts)).read()) == {"moisture": expected + " %"}
    assert told(Soil(Analog(1500), dry=1000, wet=2000).read()) == {"moisture": "50.0 %"}


def case_batteries():
    for millivolts, level in ((2100, "100"), (1910, "50"), (1850, "13"), (1500, "0"), (0, "0")):
        assert told(Battery(Analog(millivolts)).read())["battery_level"] == level + " %EL", millivolts
    assert told(Battery(Analog(1240), divider=(100, 100), chemistry="alkaline", cells=2).read()) == {
        "battery_level": "40 %EL",
        "battery_voltage": "2.480 V",
    }
    for curve in CURVES.values():
        levels = [percent_left(curve, millivolts) for millivolts in range(0, 5000, 7)]
        assert levels == sorted(levels) and levels[0] == 0 and levels[-1] == 100


class Counter:
    def __init__(self):
        self.count = self.last = 0

    def read(self):
        return self.count, self.last


class Memory:
    def __init__(self, number=0):
        self.number = number
        self.saves = 0

    def load(self):
        return self.number

    def save(self, number):
        self.number = number
        self.saves += 1


def case_a_water_meter_counts_on_after_a_reset():
    clock, counter, memory = Clock(), Counter(), Memory(12_345)
    meter = WaterMeter(counter, memory, clock.uptime)
    assert told(meter.read()) == {"pulses": "12345 count", "volume": "12.3450 m3", "flow": "0.0000 l/s"}
    # A litre every 4 s.
    for pulse in range(1, 500):
        clock.now += 4000
        counter.count, counter.last = pulse, clock.now
        records = told(meter.read())
    assert records == {"pulses": "12844 count", "volume": "12.8440 m3", "flow": "0.2500 l/s"}
    assert 1 <= memory.saves <= 3 and memory.number > 12_345
    clock.now += 40_000
    assert told(meter.read())["flow"] == "0.0250 l/s"
    clock.now += 900_000
    assert told(meter.read())["flow"] == "0.0000 l/s" and memory.number == 12_844


def case_an_electricity_meter():
    clock, counter = Clock(), Counter()
    meter = EnergyMeter(counter, Memory(8_123_456), clock.uptime, per_unit=1000)
    meter.read()
    for _ in range(3):
        clock.now += 8738
        counter.count += 1
        counter.last = clock.now
        records = told(meter.read())
    assert records == {"pulses": "8123459 count", "energy": "8123.4590 kWh", "power": "412 W"}


def case_contacts_and_motion():
    assert told(Contact(Pin(1)).read()) == {"open": "True"}
    assert told(Contact(Pin(0), quantity="leak").read()) == {"leak": "False"}
    pin = Pin(0)
    seen = [True, False]
    pin.was_active = lambda: seen.pop(0)
    sensor = Motion(pin)
    assert told(sensor.read()) == {"motion": "True"} and told(sensor.read()) == {"motion": "False"}
