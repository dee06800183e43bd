"""SHT3x, SHT4x, SCD4x: commands, words and checksums. The transactions are those of Sensirion's data sheets."""

from tests.node.drivers.buses import ENODEV, Clock, I2c, failure, run, told

from thingroom_node.drivers.scd4x import Scd4x
from thingroom_node.drivers.sensirion import crc8
from thingroom_node.drivers.sht3x import Sht3x
from thingroom_node.drivers.sht4x import Sht4x


def words(*numbers):
    data = b""
    for number in numbers:
        word = bytes((number >> 8, number & 0xFF))
        data += word + bytes((crc8(word),))
    return data


class Commanded:
    """Answers to a command after its time, once; refuses unknown commands, and reads that come too early.

    `answers`: {command: (milliseconds, answer)}, both as bytes; an answer of None: none.
    """

    def __init__(self, clock, answers):
        self._clock = clock
        self.answers = answers
        self._waiting = None
        self.heard = []

    def write(self, data):
        self.heard.append(data)
        if data not in self.answers:
            raise OSError(ENODEV)
        took, answer = self.answers[data]
        self._waiting = None if answer is None else (self._clock.now + took, answer)

    def read(self, count):
        if self._waiting is None or self._clock.now < self._waiting[0]:
            raise OSError(ENODEV)
        answer, self._waiting = self._waiting[1], None
        return answer[:count]


def sht3x(answer):
    clock = Clock()
    answers = {
        b"\x30\x93": (0, None),
        b"\x30\xa2": (0, None),
        b"\xf3\x2d": (0, words(0x8010)),
        b"\x24\x00": (15, answer),
    }
    return clock, Sht3x(I2c({0x44: Commanded(clock, answers)}))


def sht4x(answer):
    clock = Clock()
    answers = {b"\x94": (0, None), b"\x89": (0, words(0x0F13, 0x8A2C)), b"\xfd": (8, answer)}
    return clock, Sht4x(I2c({0x44: Commanded(clock, answers)}))


def case_the_checksums_that_the_data_sheets_print():
    for data, expected in (
        (b"\xbe\xef", 0x92),
        (b"\x01\xf4", 0x33),
        (b"\x66\x67", 0xA2),
        (b"\x5e\xb9", 0x3C),
        (b"\xf8\x96", 0x31),
        (b"\x9f\x07", 0xC2),
        (b"\x3b\xbe", 0x89),
    ):
        assert crc8(data) == expected


def case_sht3x_measures():
    clock, sensor = sht3x(words(0x6666, 0x8000))
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock)) == {"temperature": "25.00 Cel", "humidity": "50.00 %RH"}
    for raw, celsius, percent in ((0, "-45.00 Cel", "0.00 %RH"), (65535, "130.00 Cel", "100.00 %RH")):
        clock, sensor = sht3x(words(raw, raw))
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock)) == {"temperature": celsius, "humidity": percent}


def case_sht3x_with_a_bit_turned_over():
    clock, sensor = sht3x(words(0x6666, 0x8000)[:-1] + b"\x00")
    run(sensor.probe(), clock)
    assert failure(sensor.measure(), clock)[0] == "checksum"


def case_sht3x_read_too_early_does_not_answer():
    clock, sensor = sht3x(words(0x6666, 0x8000))
    run(sensor.probe(), clock)
    assert failure(sensor.measure(), clock, speed=0)[0] == "no_answer"


def case_sht4x_measures_and_crops():
    clock, sensor = sht4x(words(0x6666, 0x72B0))
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock)) == {"temperature": "25.00 Cel", "humidity": "50.00 %RH"}
    for raw, percent in ((0, "0.00 %RH"), (65535, "100.00 %RH")):
        clock, sensor = sht4x(words(0x6666, raw))
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock))["humidity"] == percent


def case_sht4x_that_is_not_there():
    clock = Clock()
    assert failure(Sht4x(I2c({0x45: Commanded(clock, {})})).probe(), clock)[1] == (
        "no SHT4x at 0x44: check wiring; found 0x45"
    )


class Scd41(Commanded):
    """Idle or measuring; a measurement every 5 s, ready until it is read. Section 3.5.2 has the words."""

    def __init__(self, clock):
        super().__init__(
            clock,
            {
                b"\x36\x82": (1, words(0xF896, 0x9F07, 0x3BBE)),
                b"\x24\x27" + words(0x079E): (1, None),
                b"\x24\x27" + words(0): (1, None),
                b"\x24\x16" + words(1): (1, None),
                b"\x24\x16" + words(0): (1, None),
            },
        )
        self._started_at = clock.now
        self._read_at = clock.now
        self._stopped_at = None

    def write(self, data):
        now = self._clock.now
        if data == b"\x3f\x86":
            self._started_at, self._stopped_at = None, now
            self.heard.append(data)
        elif data == b"\x21\xb1":
            assert self._started_at is None
            self._started_at = self._read_at = now
            self.heard.append(data)
        elif data == b"\xe4\xb8":
            self._waiting = (now + 1, words(0x8006 if self._is_ready() else 0x8000))
        elif data == b"\xec\x05":
            if not self._is_ready():
                raise OSError(ENODEV)
            self._read_at = now
            self._waiting = (now + 1, words(0x01F4, 0x6667, 0x5EB9))
        else:
            assert self._started_at is None and now >= self._stopped_at + 500, "busy measuring"
            super().write(data)

    def _is_ready(self):
        return self._started_at is not None and self._clock.now >= self._read_at + 5000


def case_scd4x_the_sequence_of_the_data_sheet():
    clock = Clock()
    chip = Scd41(clock)
    sensor = Scd4x(I2c({0x62: chip}), altitude=1950, self_calibration=False)
    run(sensor.probe(), clock)
    assert chip.heard == [
        b"\x3f\x86",
        b"\x36\x82",
        b"\x24\x27\x07\x9e\x09",
        b"\x24\x16\x00\x00\x81",
        b"\x21\xb1",
    ]
    expected = {"co2": "500 ppm", "temperature": "25.00 Cel", "humidity": "37.00 %RH"}
    assert told(run(sensor.measure(), clock)) == expected
    started = clock.now
    assert told(run(sensor.measure(), clock)) == expected
    assert 4000 <= clock.now - started <= 6000


def case_scd4x_that_has_lost_its_power_is_started_again():
    clock = Clock()
    bus = I2c({0x62: Scd41(clock)})
    sensor = Scd4x(bus)
    run(sensor.probe(), clock)
    bus.chips[0x62] = Scd41(clock)
    bus.chips[0x62]._started_at = None
    assert failure(sensor.measure(), clock)[0] == "not_ready"
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock))["co2"] == "500 ppm"


def case_something_else_at_the_address_of_an_scd4x():
    clock = Clock()
    chip = Commanded(clock, {b"\x3f\x86": (0, None), b"\x36\x82": (0, words(0, 0, 0))})
    assert failure(Scd4x(I2c({0x62: chip})).probe(), clock)[0] == "wrong_part"
