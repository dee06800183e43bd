"""Mail over SMTP: one message at a time, each handed to the configured server before the request is answered.

May import aiosmtplib (loaded at the first use). Called by accounts/addresses.py.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Protocol

from thingroom_homeserver.config_accounts import Email

logger = logging.getLogger(__name__)

WITHIN_SECONDS = 20.0
AT_A_TIME = 4


class Mailer(Protocol):
    """Something that delivers a mail."""

    async def send(self, to: str, subject: str, text: str) -> bool:
        """False if it could not be handed over; why is in the log."""
        ...


class SmtpMailer:
    """The `Mailer` of the configuration's [email]."""

    def __init__(self, config: Email) -> None:
        self._config = config
        self._turn = asyncio.Semaphore(AT_A_TIME)

    async def send(self, to: str, subject: str, text: str) -> bool:
        import aiosmtplib

        config = self._config
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = config.sender, to, subject
        message["Message-ID"] = make_msgid(domain="thingroom.invalid")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        context = None if config.security == "none" else ssl.create_default_context(cafile=config.ca_file or None)
        try:
            async with self._turn:
                await aiosmtplib.send(
                    message,
                    hostname=config.host,
                    port=config.port,
                    username=config.username or None,
                    password=config.password or None,
                    use_tls=config.security == "tls",
                    start_tls=config.security == "starttls",
                    tls_context=context,
                    timeout=WITHIN_SECONDS,
                )
        except (aiosmtplib.SMTPException, OSError) as error:
            logger.warning("a mail could not be sent through %s: %s", config.host, error)
            return False
        return True
