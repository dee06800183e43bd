"""The gateway's web page. server.py serves it: read that first.

sessions.py and sign_in.py say who somebody is, access.py what they may see; pages_*.py are the pages, view.py what is
on them as data, live.py keeps them up to date.
"""
