"""Sign-ons under way in browsers, and which clients' addresses a browser may be sent to.

May import the clock, the configuration and accounts/cas.py. The endpoints are in single_sign_on.py.
Source: client-server API, "SSO client login", security considerations.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp

from thingroom_homeserver.accounts.cas import CasServer
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config import HomeserverConfig

MAX_PENDING = 1000
EXPIRES_AFTER_SECONDS = 15 * 60
MAX_URL_LENGTH = 2000
_NEVER = frozenset({"javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "view-source"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Pending:
    """A browser that is on its way: to sign in for a client at `redirect_url`, or for the stage of `uia_session`."""

    started: float
    redirect_url: str = ""
    uia_session: str = ""


class SingleSignOn:
    """Pending sign-ons by a secret that also lies in the browser's cookie. `cas` is None where none is configured."""

    def __init__(self, config: HomeserverConfig, clock: Clock, http: aiohttp.ClientSession) -> None:
        self.cas = CasServer(config.cas.server_url, http) if config.cas.server_url else None
        self._trusted = config.trusted_client_urls
        self._clock = clock
        self._pending: dict[str, Pending] = {}

    def begin(self, *, redirect_url: str = "", uia_session: str = "") -> str:
        """The secret of a new one. The oldest goes when there are too many."""
        while len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        state = secrets.token_urlsafe(24)
        self._pending[state] = Pending(self._clock.monotonic(), redirect_url, uia_session)
        return state

    def end(self, state: str, cookie: str) -> Pending | None:
        """The sign-on that comes back, in the browser where it began; it cannot come back twice."""
        if not state or not hmac.compare_digest(
            state.encode("utf-8", "surrogatepass"), cookie.encode("utf-8", "surrogatepass")
        ):
            return None
        pending = self._pending.pop(state, None)
        if pending is None or self._clock.monotonic() - pending.started >= EXPIRES_AFTER_SECONDS:
            return None
        return pending

    def is_trusted(self, url: str) -> bool:
        """Whether people are sent there without being asked: same scheme, host and port, and below the path."""
        return any(_is_below(url, trusted) for trusted in self._trusted)


def is_possible_redirect(url: str) -> bool:
    """Whether a client can live there at all: an absolute URL that no browser runs as a script."""
    if len(url) > MAX_URL_LENGTH or any(ord(letter) <= 32 or letter in '\\"<>' for letter in url):
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.scheme or parts.scheme in _NEVER or parts.username is not None or parts.password is not None:
        return False
    return bool(parts.hostname) or parts.scheme not in _DEFAULT_PORTS


def with_login_token(url: str, token: str) -> str:
    """`url` with ?loginToken=, in the place of any that were there."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "loginToken"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("loginToken", token)])))


def _is_below(url: str, trusted: str) -> bool:
    if not is_possible_redirect(url):
        return False
    one, other = urlsplit(url), urlsplit(trusted)
    if (one.scheme, one.hostname, _port(one)) != (other.scheme, other.hostname, _port(other)):
        return False
    if "/.." in one.path or "%2e" in one.path.lower():
        return False
    base = other.path.rstrip("/")
    return one.path == base or one.path.startswith(f"{base}/")


def _port(parts: object) -> int | None:
    port: int | None = getattr(parts, "port", None)
    return port if port is not None else _DEFAULT_PORTS.get(getattr(parts, "scheme", ""))
