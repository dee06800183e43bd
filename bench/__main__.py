"""`python -m bench [names]`: run the parts one after the other, then hold what they gave against the targets."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.measure import console, describe, machine, save
from bench.targets import Standing, standings


def _signing() -> object:
    from bench import signing

    return signing.main()


def _cortex_m3() -> object:
    from bench import cortex_m3

    return cortex_m3.main()


def _ingest() -> object:
    from bench import ingest

    ingest.main([])
    return None


def _series() -> object:
    from bench import series

    return series.main()


def _gateway() -> object:
    from bench import gateway

    return gateway.main()


def _scaling() -> object:
    from bench import scaling

    return scaling.main()


def _homeserver() -> object:
    from bench import homeserver

    return homeserver.main()


def _federation() -> object:
    from bench import federation

    return federation.main()


def _history() -> object:
    from bench import history

    return history.main()


def _watch() -> object:
    from bench import watch

    return watch.main()


def _end_to_end() -> object:
    from bench import end_to_end

    return end_to_end.main()


# Each is imported when it is its turn: what one part lacks is no trouble for the others.
PARTS: dict[str, Callable[[], object]] = {
    "signing": _signing,
    "cortex_m3": _cortex_m3,
    "ingest": _ingest,
    "series": _series,
    "gateway": _gateway,
    "homeserver": _homeserver,
    "federation": _federation,
    "history": _history,
    "watch": _watch,
    "end_to_end": _end_to_end,
    "scaling": _scaling,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named parts (all without a name). 0 when every part ran, whether or not its targets are met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and compare with the targets.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one or more of: {', '.join(PARTS)}")
    names = parser.parse_args(arguments).names or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")

    out = console()
    facts = machine()
    figures: dict[str, float] = {}
    failed: list[str] = []
    for number, name in enumerate(names, 1):
        out.rule(f"{number} of {len(names)}: {name}")
        began = time.monotonic()
        try:
            answer = PARTS[name]()
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        figures |= _numbers(name, answer)
        out.print(f"{name} took {time.monotonic() - began:.0f} s", highlight=False)

    out.rule("targets")
    results = standings(figures)
    _print(out, results)
    out.print(describe(facts), highlight=False)
    path = save("summary", {"machine": facts, "figures": figures, "targets": [_plain(result) for result in results]})
    out.print(f"written to {path.parent}", highlight=False)
    if failed:
        out.print(f"failed: {', '.join(failed)}", style="bold red")
    return 1 if failed else 0


def _numbers(name: str, answer: object) -> dict[str, float]:
    if not isinstance(answer, Mapping):
        return {}
    return {f"{name}.{key}": float(value) for key, value in answer.items() if isinstance(value, (int, float))}


def _print(out: Console, results: list[Standing]) -> None:
    table = Table(title="Targets", title_justify="left")
    for heading, justify in (("what", "left"), ("target", "right"), ("measured", "right"), ("stands", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for result in results:
        target = result.target
        sign = "≤" if target.at_most else "≥"
        measured = "" if result.measured is None else f"{result.measured * target.scale:.3g} {target.unit}"
        style = {True: "green", False: "red", None: "dim"}[result.met]
        table.add_row(
            target.text,
            f"{sign} {target.bound * target.scale:g} {target.unit}",
            measured,
            result.in_words(),
            style=style,
        )
    out.print(table)


def _plain(result: Standing) -> dict[str, object]:
    return {
        "target": result.target.text,
        "figure": result.target.figure,
        "bound": result.target.bound,
        "measured": result.measured,
        "met": result.met,
        "margin": result.margin,
    }


if __name__ == "__main__":
    raise SystemExit(main())
