"""Alerts: rules.py decides (pure), defaults.py says which rules a device has, texts.py what is said, engine.py runs it.

State is stored in the same write as what it led to, so a crash neither says something twice nor loses it.
"""
