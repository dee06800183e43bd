"""The bench: the real firmware on emulated and on real hardware, against the real gateway and homeserver."""
