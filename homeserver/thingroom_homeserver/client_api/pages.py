"""The few pages that people see in a browser: a message, a form, a link to go on; and what their forms send.

Everything is escaped. May import the HTTP types. They load nothing, cannot be put into a frame, and run no script but
the one that tells a client that it may go on, by its digest. Source of that: client-server API, "Fallback".
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request

MAX_FIELDS = 10
MAX_FORM_BYTES = 16_384

_STYLE = (
    "body{font:1.1em sans-serif;max-width:34em;margin:4em auto;padding:0 1em}button,a,input{font-size:1em}"
    "label{display:block;margin:.8em 0}input{display:block;margin-top:.2em}input[type=checkbox]{display:inline}"
)
_DONE = (
    "if (window.onAuthDone) { window.onAuthDone(); }"
    " else if (window.opener && window.opener.postMessage) { window.opener.postMessage('authDone', '*'); }"
)


@dataclass(frozen=True, slots=True)
class Field:
    """An input that a person fills in. `kind`: "text", "password", "email", "checkbox"."""

    name: str
    label: str
    kind: str = "text"
    complete: str = "off"


def page(title: str, text: str, status: int = 200, *, inner: str = "", script: str = "") -> web.Response:
    """A message. `inner` is HTML that follows it; `script` runs, may ask this server, and nothing else does."""
    scripting = f"<script>{script}</script>" if script else ""
    body = (
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{inner}{scripting}</html>"
    )
    return web.Response(body=body.encode("utf-8", "replace"), status=status, headers=_headers(script))


def form(
    title: str, text: str, action: str, values: dict[str, str], button: str, fields: tuple[Field, ...] = ()
) -> web.Response:
    """A message with a button that sends `values`, and what is filled in, to `action`."""
    return page(title, text, inner=form_html(action, values, button, fields))


def form_html(action: str, values: dict[str, str], button: str, fields: tuple[Field, ...] = ()) -> str:
    """The form of such a page."""
    hidden = "".join(
        f'<input type=hidden name="{escape(name)}" value="{escape(value)}">' for name, value in values.items()
    )
    shown = "".join(
        f'<label>{escape(field.label)}<input name="{escape(field.name)}" type="{field.kind}"'
        f' autocomplete="{field.complete}" required></label>'
        for field in fields
    )
    return f'<form method=post action="{escape(action)}">{hidden}{shown}<button>{escape(button)}</button></form>'


def link(title: str, text: str, url: str, label: str) -> web.Response:
    """A message with a link to go on."""
    return page(title, text, inner=f'<p><a href="{escape(url)}">{escape(label)}</a></p>')


def stage_done() -> web.Response:
    """A stage of user-interactive authentication is done: the client that opened the page is told."""
    return page("Thank you", "You may close this window and go back to your client.", script=_DONE)


def redirect(url: str) -> web.Response:
    """302 to `url`, which the caller has checked."""
    headers = {"Location": url, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return web.Response(status=302, headers=headers)


def sent_form(request: Request) -> dict[str, str]:
    """What a form sent; a field that is not there, or cannot be read, is not in it."""
    if len(request.raw_body) > MAX_FORM_BYTES:
        return {}
    try:
        sent = parse_qs(request.raw_body.decode("utf-8"), max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        return {}
    return {name: values[0] for name, values in sent.items()}


def _headers(script: str) -> dict[str, str]:
    allowed = ""
    if script:
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = f" script-src 'sha256-{digest}'; connect-src 'self';"
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"default-src 'none'; style-src 'unsafe-inline';{allowed} form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
