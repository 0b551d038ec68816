"""`trainer`: from labelled messages to a bundle. Each command is a thin shell around one module."""

import sys
from pathlib import Path
from typing import Annotated

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


@weights.command("fetch")
def weights_fetch(
    size: Annotated[str, typer.Argument(help="gpt2, gpt2-medium, gpt2-large or gpt2-xl.")] = "gpt2",
    out: Annotated[Path | None, typer.Option(help="Folder; by default below ~/.cache/filterd.")] = None,
) -> None:
    """Download OpenAI's GPT-2 from the hub and record the hashes."""
    from trainer import weights

    folder = out or weights.default_folder(size)
    hashes = weights.fetch(size, folder)
    typer.echo(f"{folder}: {hashes.source} at {hashes.revision}")
    for name, entry in hashes.files.items():
        typer.echo(f"  {entry.sha256}  {entry.bytes:>13,}  {name}")


@weights.command("verify")
def weights_verify(
    size: Annotated[str, typer.Argument(help="A size that was fetched.")] = "gpt2",
    source: Annotated[Path | None, typer.Option("--from", help="A folder with weights instead.")] = None,
) -> None:
    """Check the hashes, let the model write on, and ask it the lecture's question."""
    from trainer import weights

    folder = weights.find(str(source or size))
    typer.echo(weights.describe(folder))
    for prompt, written in weights.verify(weights.load(folder), weights.tokenizer(folder)):
        typer.echo(f"\n{prompt}\n→ {written.strip()}")


def main() -> None:
    """Entry point: errors of ours become one line and their exit status."""
    try:
        app(standalone_mode=True)
    except FilterdError as error:
        print(f"trainer: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
