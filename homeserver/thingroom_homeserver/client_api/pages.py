"""The few pages that people see in a browser: a message, a form with one button, a link to go on.

Everything is escaped. May import the HTTP types. They run no script, load nothing and cannot be put into a frame.
"""

from __future__ import annotations

from html import escape

from aiohttp import web

_STYLE = "body{font:1.1em sans-serif;max-width:34em;margin:4em auto;padding:0 1em}button,a{font-size:1em}"
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page(title: str, text: str, status: int = 200, *, inner: str = "") -> web.Response:
    """A message. `inner` is HTML that follows it."""
    body = (
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{inner}</html>"
    )
    return web.Response(body=body.encode("utf-8", "replace"), status=status, headers=_HEADERS)


def form(title: str, text: str, action: str, values: dict[str, str], button: str) -> web.Response:
    """A message with a button that sends `values` to `action`."""
    fields = "".join(
        f'<input type=hidden name="{escape(name)}" value="{escape(value)}">' for name, value in values.items()
    )
    inner = f'<form method=post action="{escape(action)}">{fields}<button>{escape(button)}</button></form>'
    return page(title, text, inner=inner)


def link(title: str, text: str, url: str, label: str) -> web.Response:
    """A message with a link to go on."""
    return page(title, text, inner=f'<p><a href="{escape(url)}">{escape(label)}</a></p>')


def redirect(url: str) -> web.Response:
    """302 to `url`, which the caller has checked."""
    headers = {"Location": url, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return web.Response(status=302, headers=headers)
