"""Both programs say which they are."""

import pytest
from typer import Typer
from typer.testing import CliRunner

from filterd import __version__
from filterd.commands.cli import app as filterd
from filterd_trainer.cli import app as trainer


@pytest.mark.parametrize(("app", "name"), [(filterd, "filterd"), (trainer, "trainer")])
def test_version(app: Typer, name: str) -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"{name} {__version__}\n")
