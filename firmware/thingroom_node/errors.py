"""The exception of settings, apart from their parser, which is not kept in memory. Imports nothing."""


class SettingsError(Exception):
    """node.json cannot be used; the message is one sentence for the person who wrote it."""
