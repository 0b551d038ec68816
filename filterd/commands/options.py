"""Options that several commands of `filterd` have in common, and the configuration that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from filterd.config import Config

BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", envvar="FILTERD_BUNDLE", help="Model bundle; without it the one in use."),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=256, help="Threads of the model; one a core without it.")
]
MailOption = Annotated[bool, typer.Option("--mail", help="The input is mail, whatever it looks like.")]
SmsOption = Annotated[bool, typer.Option("--sms", "--text", help="The input is the text of an SMS.")]
UserOption = Annotated[
    str, typer.Option("--user", metavar="NAME", help="Whose word it is; without it the site's.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="FILTERD_CONFIG", help="filterd.yaml; without it the one in force."),
]


def configured(path: Path | None) -> "tuple[Path | None, Config]":
    """The configuration file that counts and what it says. Raises ConfigError."""
    from filterd import config

    return config.in_force(path)


def config_of(path: Path | None) -> "Config":
    """What that file says. Raises ConfigError."""
    return configured(path)[1]
