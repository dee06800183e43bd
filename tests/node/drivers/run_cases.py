"""Runs on MicroPython: every case of the modules that are named, then noise. Prints JSON: {case: "" or its trouble}.

Arguments: how many rounds of noise, a directory, then module names.
"""

import gc
import io
import json
import sys

from tests.node.drivers import noise

NEED_A_DIRECTORY = ("case_pulses_are_counted_and_kept",)


class Random:
    """xorshift32, now and then an OSError."""

    def __init__(self, seed):
        self._state = seed * 2654435761 & 0xFFFFFFFF or 1

    def next(self):
        state = self._state
        state = (state ^ state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        self._state = (state ^ state << 5) & 0xFFFFFFFF
        return self._state

    def answer(self, count):
        if self.next() % 61 == 0:
            raise OSError(5)
        if self.next() % 7 == 0:
            return bytes((255 if self._state & 1 else 0,)) * count
        return bytes([self.next() >> 11 & 255 for _ in range(count)])

    def calm(self, count):
        return bytes([self.next() >> 11 & 255 for _ in range(count)])


def outcome(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        text = io.StringIO()
        sys.print_exception(error, text)
        return text.getvalue()
    return ""


def make_noise(number, rounds):
    for seed in range(1, rounds + 1):
        random = Random(seed * 31 + number)
        noise.disturb(noise.sensors(random.answer, random.calm)[number])


def main(rounds, directory, names):
    results = {}
    for name in names:
        module = __import__("tests.node.drivers." + name, None, None, (name,))
        for case in dir(module):
            if case.startswith("case_"):
                needs = (directory,) if case in NEED_A_DIRECTORY else ()
                results[name + "." + case] = outcome(getattr(module, case), *needs)
                gc.collect()
    for number, sensor in enumerate(noise.sensors(Random(1).calm, Random(1).calm)):
        results["noise." + type(sensor).__name__] = outcome(make_noise, number, rounds)
    print(json.dumps(results))


main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
