"""What a node says to whoever watches its console: one JSON object a line for every event. May import json."""

import json


def emit(event):
    """Print an event as one line of JSON."""
    print(json.dumps(event))
