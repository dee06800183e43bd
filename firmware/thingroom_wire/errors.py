"""The one exception of this package.

Every parser of outside bytes raises `WireError` and nothing else. Whoever calls a parser turns it into an outcome
at its own door; the reason is stable and meant for counters, the sentence is meant for people.
"""


class WireError(Exception):
    """Bytes from outside are not what the format allows.

    `reason` is a short snake_case string that does not change between versions; `str(error)` is a sentence, which is
    left out on boards.
    """

    def __init__(self, reason: str, sentence: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason
