"""Sensors, one a file. A driver has `read()`, which returns a list of SenML records and raises OSError when the part
does not answer; what it is attached to is handed in. No driver imports `machine`."""
