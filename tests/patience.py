"""How long tests wait for something to happen before they say that it did not.

Waiting costs nothing where it happens, so this is more than the slowest machine needs: two busy cores and a disk that
now and then takes seconds to sync. A wait that must end early (that nothing happens, or that something is quick) has
a number of its own where it stands.
"""

from __future__ import annotations

PATIENCE_SECONDS = 60.0
