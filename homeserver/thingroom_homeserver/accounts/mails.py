"""What mails say: subject and text. Pure."""

from __future__ import annotations

_WHAT_FOR = {
    "register": ("Confirm your email address", "to make an account on {server}"),
    "add": ("Confirm your email address", "to add this address to an account on {server}"),
    "reset": ("Reset your password", "to set a new password for your account on {server}"),
}


def confirmation(purpose: str, server_name: str, url: str) -> tuple[str, str]:
    """The mail with the link."""
    subject, what = _WHAT_FOR[purpose]
    return f"{subject} ({server_name})", (
        f"Hello,\n\nsomebody, hopefully you, asked {what.format(server=server_name)}.\n"
        f"If it was you, open this page and confirm:\n\n{url}\n\n"
        "The link is good for an hour. If it was not you, ignore this mail: nothing happens.\n"
    )


def no_use(purpose: str, server_name: str) -> tuple[str, str]:
    """The mail that says why there is no link."""
    subject, what = _WHAT_FOR[purpose]
    reason = (
        f"There is no account with this address on {server_name}."
        if purpose == "reset"
        else f"This address already belongs to an account on {server_name}; sign in to it or reset its password."
    )
    return f"{subject} ({server_name})", (
        f"Hello,\n\nsomebody, perhaps you, asked {what.format(server=server_name)}.\n{reason}\n"
    )
