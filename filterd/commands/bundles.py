"""`filterd bundle`: check a bundle, list those that are installed, switch to one, go back."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterd.commands.options import ConfigOption, config_of

if TYPE_CHECKING:
    from filterd.promotion import remote

MB = 1_000_000

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
    where: Annotated[
        str, typer.Argument(metavar="FOLDER|URL", help="A bundle; it is copied into the store.")
    ],
    sha256: Annotated[
        str, typer.Option(help="What its manifest.json has to have; over http it is needed.")
    ] = "",
    shadow: Annotated[
        bool,
        typer.Option(
            "--shadow", help="Put it on trial first: it judges beside, then takes over or is dropped."
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Make a bundle the one that judges, after checking it; a running daemon takes it at once."""
    from filterd.corrections.store import Store
    from filterd.promotion import champion
    from filterd.scoring.engine import Engine

    settings = config_of(config)
    with _here(where, sha256, settings.bundles) as path:
        opened = Engine.open(path).bundle
        if shadow:
            print(
                f"{opened.id} is on trial; {champion.try_out(opened, settings.bundles, Path(settings.state))}"
            )
            return
        ours = champion.read_of(opened, settings.feedback_url)
        store = Store.existing(settings.feedback_url) if ours else None
        with store or nullcontext():
            said = champion.promote(opened, settings.bundles, Path(settings.state), store)
    print(f"{opened.id} is current; {said}")


@contextmanager
def _here(where: str, sha256: str, bundles: Path) -> Iterator[Path]:
    """The bundle's folder; one from elsewhere is fetched to the store's disk, and gone in the end."""
    from filterd.errors import Unwritable
    from filterd.progress import bar
    from filterd.promotion import remote

    if not remote.is_remote(where):
        if sha256:
            remote.same(Path(where), sha256)
        yield Path(where)
        return
    try:
        bundles.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".fetched.", dir=bundles)
    except OSError as error:
        raise Unwritable(f"{bundles}: {error.strerror}; it is the store of bundles, see `state`") from error
    with folder as fetched:
        try:
            with bar("Fetching, MB", None) as advance:
                remote.fetch(where, sha256, Path(fetched), _in_megabytes(advance))
        except OSError as error:
            raise Unwritable(f"{fetched}: {error.strerror}; the bundle was not fetched") from error
        yield Path(fetched)


def _in_megabytes(advance: Callable[[int], None]) -> "remote.Report":
    """Tells a bar how much of all files is here."""
    here: dict[str, int] = {}

    def report(name: str, done: int, total: int) -> None:
        advance(done // MB - here.get(name, 0))
        here[name] = done // MB

    return report


@app.command("rollback")
def rollback(config: ConfigOption = None) -> None:
    """Go back to the bundle before the current one; a running daemon takes it at once."""
    from filterd.promotion import champion

    settings = config_of(config)
    print(champion.roll_back(settings.bundles, Path(settings.state)))
