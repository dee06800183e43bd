"""Sensirion's way over I2C: 16-bit commands, and words that a CRC-8 follows (polynomial 0x31, start 0xFF).

SHT3x data sheet (March 2022) section 4.12, SCD4x data sheet 1.4 section 3.12. May import i2c_part, sensor.
"""

from thingroom_node.drivers.sensor import SensorError


def crc8(data, start=0, end=None):
    """The checksum of data[start:end]; that of BE EF is 92."""
    crc = 0xFF
    for index in range(start, len(data) if end is None else end):
        crc ^= data[index]
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def words(part, count):
    """`count` words that the part sends, as numbers. SensorError for a wrong checksum."""
    data = part.receive(3 * count)
    found = []
    for place in range(0, 3 * count, 3):
        if crc8(data, place, place + 2) != data[place + 2]:
            raise SensorError("checksum", "the {} sent a wrong checksum: check wiring, pull-ups".format(part.name))
        found.append(data[place] << 8 | data[place + 1])
    return found


def command(part, number, argument=None):
    """Send the 16-bit command `number`, with a word as its argument if there is one."""
    data = bytes((number >> 8, number & 0xFF))
    if argument is not None:
        word = bytes((argument >> 8, argument & 0xFF))
        data += word + bytes((crc8(word),))
    part.send(data)
