"""Updates: fetched block by block, written beside the running version, tried, and taken back when they do not live.

Loaded only while there is an update. session.py fetches, install.py unpacks, trial.py confirms, slots.py knows which
version runs and which is tried; partitions.py does the same for whole images on an ESP32. See docs/updates.md.
"""
