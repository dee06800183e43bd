"""What `thingroom run` says where nobody watches: lines of the log instead of the screen, and no passwords.

Takes the same as screen.py. Readings are no lines here: the gateway counts them, and `thingroom status` tells.
"""

from __future__ import annotations

import logging
from typing import Any

from thingroom.supervisor import Ended
from thingroom_common.log_lines import fields

logger = logging.getLogger("thingroom")

_SECRET = "Password"  # noqa: S105 - the label of a row that is left out


class LogScreen:
    """Logs."""

    def say(self, text: str) -> None:
        """One line."""
        logger.info("%s", text)

    def started(self, rows: list[tuple[str, str]]) -> None:
        """The addresses, without how to sign in."""
        # What comes after is for people at a screen.
        shown = {
            label.lower().replace(" ", "_"): value.partition("   ")[0].partition(";")[0]
            for label, value in rows
            if label != _SECRET
        }
        logger.info("Thingroom is running", extra=fields(**shown))

    def child_ended(self, ended: Ended) -> None:
        """A program crashed."""
        logger.error(
            "the %s stopped",
            ended.name,
            extra=fields(program=ended.name, exit_code=ended.exit_code, restarts_in=ended.restarts_in),
        )

    def gateway_event(self, event: dict[str, Any]) -> None:
        """One notable event of the gateway."""
        if event.get("event") == "enrolled":
            logger.info("a device is paired", extra=fields(device=event.get("device"), name=event.get("name")))
