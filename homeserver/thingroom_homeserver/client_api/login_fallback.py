"""GET /_matrix/static/client/login/: a page that does the whole login, for clients that know none of its flows.

One form, a link for single sign-on where there is one, and a script that posts to /login and hands the answer to the
client (`window.matrixLogin.onLogin`). Source: client-server API, "Login fallback".
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from thingroom_homeserver.client_api import pages
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

_FORM = (
    "<p id=said role=status></p><form id=login>"
    "<label>Username<input name=user autocomplete=username required></label>"
    "<label>Password<input name=password type=password autocomplete=current-password required></label>"
    "<button>Sign in</button></form>"
)
_SCRIPT = r"""
"use strict";
const query = new URLSearchParams(location.search);
const said = document.getElementById("said");
const base = location.pathname.replace(/_matrix\/static\/.*$/, "_matrix/client/v3/login");
async function logIn(credentials) {
  const body = { ...credentials };
  for (const name of ["device_id", "initial_device_display_name"])
    if (query.has(name)) body[name] = query.get(name);
  if (query.has("refresh_token")) body.refresh_token = query.get("refresh_token") === "true";
  said.textContent = "";
  try {
    const answer = await fetch(base, { method: "POST", body: JSON.stringify(body) });
    const session = await answer.json();
    if (!answer.ok) { said.textContent = session.error || "This did not work."; return; }
    document.getElementById("login").remove();
    const other = document.getElementById("other");
    if (other) other.remove();
    said.textContent = "You are signed in as " + session.user_id + ". You may close this page.";
    if (window.matrixLogin && window.matrixLogin.onLogin) window.matrixLogin.onLogin(session);
  } catch (error) { said.textContent = "The server does not answer."; }
}
document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  logIn({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: form.user.value },
    password: form.password.value,
  });
});
const other = document.getElementById("other");
if (other) {
  query.delete("loginToken");
  const back = location.origin + location.pathname + (query.size ? "?" + query : "");
  other.href = base + "/sso/redirect?" + new URLSearchParams({ redirectUrl: back });
}
const token = new URLSearchParams(location.search).get("loginToken");
if (token) logIn({ type: "m.login.token", token });
"""


async def show(request: Request, services: Services) -> Response:
    inner = _FORM
    if services.single_sign_on.cas is not None:
        inner += f"<p><a id=other>Sign in with {escape(services.config.cas.name)}</a></p>"
    return pages.page("Sign in", f"Sign in to {services.config.server_name}.", inner=inner, script=_SCRIPT)


_PATHS = ("/_matrix/static/client/login/", "/_matrix/static/client/login")

ENDPOINTS = (Endpoint("GET", _PATHS, show, auth=Auth.NONE, limit="single_sign_on"),)
