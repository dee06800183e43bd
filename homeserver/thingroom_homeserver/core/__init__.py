"""The pure core of the homeserver: Matrix's data formats and algorithms without I/O, clock, logging or async.

Imports orjson and PyNaCl at most. Read room_rules.py and event.py first, then auth_rules/.
"""
