"""A port for a test's server."""

import socket


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of loopback that nothing listened on a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
