"""What `--version` says, of both programs."""

from typing import Any

import typer

from filterd import __version__


def option(program: str) -> Any:
    """The option of a command line: it prints `program 1.2.3`, and that is all."""

    def show(asked: bool) -> None:
        if asked:
            print(f"{program} {__version__}")
            raise typer.Exit

    return typer.Option("--version", callback=show, is_eager=True, help="Print the version.")
