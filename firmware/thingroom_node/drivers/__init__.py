"""Drivers, one part a file. What a part is attached to is handed in; no driver imports `machine`.

A sensor has two generators, written as straight code that yields how many milliseconds it has nothing to do:
`probe()` finds the part and sets it up, `measure()` returns a list of SenML records. Both raise SensorError, which is
an OSError, and nothing else, whatever the part says. After a failure the next thing is `probe()` again. Sensors that
need no time (Instant) also have `read()`. ../sensors.py runs them, ../equipment.py makes them.

An actuator has `write(value)` and `read()`; both may raise OSError.
"""
