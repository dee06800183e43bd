"""Runs on both interpreters: damaged commands into everything that takes them, and what came of it.

Arguments: a directory, a file with a line of JSON and then a command in hex a line. Prints JSON: how often each reason
or outcome came, the counter, what the actuator was set to. Anything raised ends the program with a traceback.
"""

import json
import sys
from binascii import unhexlify

from thingroom_node.actuators import Actuator, Actuators
from thingroom_node.clock import Moment
from thingroom_node.commander import Commander
from thingroom_node.commands import open_journal
from thingroom_node.configuration import open_configuration


class Kept:
    """An actuator's driver that keeps what it was told."""

    def __init__(self):
        self.values = []

    def write(self, value):
        self.values.append(value)

    def read(self):
        return len(self.values)


def run(directory, path):
    rows = open(path)  # noqa: PTH123, SIM115 - too much to hold on a board
    given = json.loads(rows.readline())
    driver = Kept()
    actuators = Actuators([Actuator("on", "switch", driver, "on", None, 0, 1, [])])
    journal = open_journal(directory + "/commands", None)
    settled = open_configuration(directory + "/configuration")
    commander = Commander(unhexlify(given["device"]), journal, actuators, settled)
    key = unhexlify(given["key"])
    counts = {}
    for row in rows:
        event = commander.take(unhexlify(row.strip()), key, Moment(0, 5000, given["now"]))
        what = event.get("outcome") or event["reason"]
        counts[what] = counts.get(what, 0) + 1
        if commander.results:
            commander.kept(commander.complete([]), 5000, commander.results)
    rows.close()
    return {"counts": counts, "highest": commander.highest, "values": driver.values}


def main():
    print(json.dumps(run(sys.argv[1], sys.argv[2])))


if __name__ == "__main__":
    main()
