"""The node: samples, numbers, keeps, signs and sends readings, and forgets one only when the gateway acknowledged it.

For MicroPython (and, but for links and runner, CPython). It imports thingroom_wire and nothing else of ours. Begin with
runner.py, which ties the pieces together; unix_main.py is the program for the unix port.
"""

VERSION = "0.1.0"
