"""`python -m thingroom` is the `thingroom` command."""

from thingroom.cli import main

main(prog_name="thingroom")
