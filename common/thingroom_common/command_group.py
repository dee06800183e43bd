"""A group of commands that is easy to find one's way in: whole first sentences, and what was meant by a slip.

May import click. Every group of the `thingroom` command is one.
"""

from __future__ import annotations

import difflib
import re

import click


class Group(click.Group):
    """Lists its commands with the first sentence of each, never cut short."""

    def about(self, ctx: click.Context, name: str) -> str:
        """The first sentence of a command's help."""
        command = self.get_command(ctx, name)
        text = (command.help or "") if command is not None else ""
        paragraph = " ".join(text.split("\n\n")[0].split())
        return re.split(r"(?<=[.!?]) ", paragraph, maxsplit=1)[0]

    def sections(self, ctx: click.Context) -> list[tuple[str, list[str]]]:
        """Headings with the names of commands; here one of all."""
        return [("Commands", self.list_commands(ctx))]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in self.sections(ctx):
            with formatter.section(heading):
                formatter.write_dl([(name, self.about(ctx, name)) for name in names], col_max=20)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            meant = f"Did you mean `{ctx.command_path} {close[0]}`?" if close else f"See: {ctx.command_path} --help"
            raise click.UsageError(f"There is no command {args[0]}. {meant}", ctx)
        return super().resolve_command(ctx, args)
