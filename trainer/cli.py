"""`trainer`: from labelled messages to a bundle. Each command is a thin shell around one module."""

import sys

import typer

from filterd.errors import FilterdError

app = typer.Typer(
    help="Train, evaluate and export the models that filterd judges with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Fetch and prepare labelled messages.", no_args_is_help=True)
weights = typer.Typer(help="Fetch and verify pretrained GPT-2 weights.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")


def main() -> None:
    """Entry point: errors of ours become one line and their exit status."""
    try:
        app(standalone_mode=True)
    except FilterdError as error:
        print(f"trainer: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
