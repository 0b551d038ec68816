"""`filterd feedback`: look at the corrections store, copy it, import one, prune it. `import` makes one."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from filterd.commands.options import ConfigOption, config_of
from filterd.commands.pipe import CommandExit

if TYPE_CHECKING:
    from filterd.corrections.store import Store

app = typer.Typer(help="The corrections store.", no_args_is_help=True)


@app.command("stats")
def stats(config: ConfigOption = None) -> None:
    """Count the corrections in the store."""
    import msgspec

    from filterd.corrections.recall import recall
    from filterd.corrections.store import StoreStats

    with _existing(config) as store:
        counted = msgspec.to_builtins(store.stats() if store else StoreStats())
    for name, value in counted.items():
        print(f"{name:16} {value if value not in (None, '', {}) else '-'}")
    for owner in recall(config_of(config)).doubtful():
        print(f"contradicted     {owner}: by the others, more often than not; counts less for them")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50,
    config: ConfigOption = None,
) -> None:
    """List the newest corrections, without text: number, time, label, kind, source, id, hash."""
    with _existing(config) as store:
        newest = deque(store.iterate() if store else (), maxlen=limit)
    for one in newest:
        time = one.time.isoformat(timespec="seconds")
        name = f"{one.message_id or '-'} {one.content_hash[:16]}"
        print(f"{one.number:6} {time} {one.label:4} {one.kind:4} {one.source or '-':8} {name}")


@app.command("export")
def export(config: ConfigOption = None) -> None:
    """Write all corrections to stdout as JSON lines; `feedback import` reads them."""
    with _existing(config) as store:
        count = store.export_lines(sys.stdout.buffer) if store else 0
    print(f"{count:,} corrections", file=sys.stderr)


@app.command("prune")
def prune(
    all_: Annotated[
        bool, typer.Option("--all", help="Even where that is most of them; look at the clock first.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Delete corrections past their retention now; the daemon does so every hour."""
    kept = config_of(config).feedback
    dropped = 0
    with _existing(config) as store:
        if store:
            dropped = store.prune(days=kept.retention_days, max_rows=kept.max_corrections, even_most=all_)
    print(f"{dropped:,} corrections deleted")


@app.command("import")
def import_(
    file: Annotated[
        str, typer.Argument(help="An export, or a .csv or .tsv with columns label and text; else stdin.")
    ] = "-",
    config: ConfigOption = None,
) -> None:
    """Read corrections: what `feedback export` wrote, all or none; or a table, row by row as `learn` does."""
    from filterd.commands import learn, table
    from filterd.commands.input import open_input
    from filterd.corrections.store import Store

    if file.lower().endswith(table.SUFFIXES):
        raise CommandExit(learn.correct(table.rows(file), lambda: config_of(config), list(learn.LEARNED)))
    with open_input(file) as lines, Store.open(config_of(config).feedback_url) as store:
        count = store.import_lines(cast(BinaryIO, lines))
    print(f"{count:,} corrections were new or changed", file=sys.stderr)


@contextmanager
def _existing(config: ConfigOption) -> "Iterator[Store | None]":
    """The store, closed afterwards; None where there is none, and none is made."""
    from filterd.corrections.store import Store

    store = Store.existing(config_of(config).feedback_url)
    with store or nullcontext():
        yield store
