"""Readings of Thingroom's rooms with proof of where they come from, for programs of your own.

`Verifier` is the pure core: events in, judged readings out. `watch` reads them from any homeserver. Start at `verify`.
docs/integrators.md is the tutorial. Depends on neither gateway nor homeserver.
"""

from thingroom_watch.home import Account
from thingroom_watch.model import Finding, Gap, Judged, KeyNews, Sample, Trust, Verdict
from thingroom_watch.session import WatchEnded, login
from thingroom_watch.trust import RoomTrust
from thingroom_watch.verify import Verifier
from thingroom_watch.watching import FROM_BEGINNING, FROM_NOW, watch

__all__ = [
    "FROM_BEGINNING",
    "FROM_NOW",
    "Account",
    "Finding",
    "Gap",
    "Judged",
    "KeyNews",
    "RoomTrust",
    "Sample",
    "Trust",
    "Verdict",
    "Verifier",
    "WatchEnded",
    "login",
    "watch",
]
