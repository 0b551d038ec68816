"""`filterd bundle`: check a bundle, list those that are installed, switch to one, go back."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from filterd.commands.options import ConfigOption, config_of

app = typer.Typer(help="Installed model bundles.", no_args_is_help=True)


@app.command("verify")
def verify(
    path: Annotated[Path | None, typer.Argument(help="A bundle; the one that judges without it.")] = None,
    config: ConfigOption = None,
) -> None:
    """Check a bundle's hashes, version and probe scores."""
    from filterd import judge
    from filterd.scoring.engine import Engine

    where = path or judge.bundle_path(config_of(config))
    opened = Engine.open(where)
    print(f"{where}: {opened.bundle.id} ok, {len(opened.bundle.manifest.probes)} probe scores agree")
    for line in (*opened.bundle.manifest.fast_path_lines(), *opened.bundle.manifest.exit_lines()):
        print(line)


@app.command("list")
def list_(config: ConfigOption = None) -> None:
    """List the installed bundles; `*` judges, `<` is what a rollback goes back to."""
    from filterd import judge
    from filterd.errors import BundleError
    from filterd.scoring import bundle

    settings = config_of(config)
    store, previous = settings.bundles, settings.bundles / bundle.PREVIOUS
    marks = {judge.bundle_path(settings).resolve(): "*"}
    if previous.is_symlink():
        marks.setdefault(previous.resolve(), "<")
    found = sorted(store.iterdir()) if store.is_dir() else []
    folders = [one for one in found if one.is_dir() and not one.is_symlink() and one.name[0] != "."]
    for path in [*folders, bundle.DEFAULT]:
        mark = marks.get(path.resolve(), " ")
        try:
            print(f"{mark} {path.name:20} {bundle.read(path).id}")
        except BundleError as error:
            print(f"{mark} {path.name:20} refused: {error}")


@app.command("use")
def use(
    path: Annotated[Path, typer.Argument(help="A bundle's folder; it is copied into the store.")],
    config: ConfigOption = None,
) -> None:
    """Make a bundle the one that judges, after checking it; a running daemon takes it at once."""
    from filterd.corrections.store import Store
    from filterd.promotion import champion
    from filterd.scoring.engine import Engine

    settings = config_of(config)
    opened = Engine.open(path).bundle
    ours = champion.read_of(opened, settings.feedback_url)
    store = Store.existing(settings.feedback_url) if ours else None
    with store or nullcontext():
        said = champion.promote(opened, settings.bundles, Path(settings.state), store)
    print(f"{opened.id} is current; {said}")


@app.command("rollback")
def rollback(config: ConfigOption = None) -> None:
    """Go back to the bundle before the current one; a running daemon takes it at once."""
    from filterd.promotion import champion

    settings = config_of(config)
    print(champion.roll_back(settings.bundles, Path(settings.state)))
