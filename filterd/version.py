"""What `--version` says, of both programs."""

from typing import Any

from filterd import __version__


def show(program: str) -> None:
    """Print `program 1.2.3`."""
    print(f"{program} {__version__}")


def option(program: str) -> Any:
    """The option of a command line: it shows the version, and that is all."""
    import typer  # which a mail's delivery does not pay for

    def shown(asked: bool) -> None:
        if asked:
            show(program)
            raise typer.Exit

    return typer.Option("--version", callback=shown, is_eager=True, help="Print the version.")
