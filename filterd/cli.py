"""`filterd`: what people type. Commands only read their options; the work is in the modules they call.

Heavy imports (numpy, onnxruntime) stay inside the commands that need them: `filterd --help` and a check
that a running daemon answers start in a fraction of the time.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterd import __version__
from filterd.api import Kind
from filterd.errors import ConfigError, FilterdError

if TYPE_CHECKING:
    from filterd.check import Judge

app = typer.Typer(
    help="A spam filter for mail and SMS that judges with a fine-tuned GPT-2 on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", envvar="FILTERD_BUNDLE", help="Model bundle; without it the one that ships."),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=256, help="Threads of the model; one a core without it.")
]
MailOption = Annotated[bool, typer.Option("--mail", help="The input is mail, whatever it looks like.")]
SmsOption = Annotated[bool, typer.Option("--sms", "--text", help="The input is the text of an SMS.")]


@app.command()
def check(
    files: Annotated[list[str] | None, typer.Argument(help="Messages; stdin without any.")] = None,
    mail: MailOption = False,
    sms: SmsOption = False,
    lines: Annotated[bool, typer.Option("--lines", help="Each line is a message of its own.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message.")] = False,
    tag: Annotated[bool, typer.Option("--tag", help="Copy the mail on stdin to stdout, tagged.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --tag: exit 75 where judging fails.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit as spamc -c does: 1 spam, 0 not.")
    ] = False,
    bogofilter: Annotated[
        bool, typer.Option("--bogofilter", help="Exit as bogofilter does: 0 spam, 1 ham, 2 unsure, 3 error.")
    ] = False,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Judge messages: `spam  0.993  mail  Subject`.

    Exit status: 0 judged; 65 empty or binary input; 66 no such file; 69 no model; 75 see --strict;
    78 options that exclude each other.
    """
    from filterd import check as checking
    from filterd.headers import HeaderStyle

    _exclude({"--mail": mail, "--sms": sms})
    _exclude({"--json": as_json, "--tag": tag})
    _exclude({"--tag": tag, "--exit-code": exit_code, "--bogofilter": bogofilter})
    _exclude({"--tag": tag, "--lines": lines})
    if tag and (files or sms):
        raise ConfigError("--tag reads one mail from stdin; leave out files and --sms")
    if tag:
        status = checking.tag(lambda: _judge(bundle, threads), HeaderStyle(), strict=strict)
    else:
        codes = checking.ExitCode
        status = checking.run(
            checking.items(files or [], Kind.MAIL if mail else Kind.SMS if sms else None, lines=lines),
            _judge(bundle, threads),
            checking.Output.JSON if as_json else checking.Output.HUMAN,
            codes.SPAMC if exit_code else codes.BOGOFILTER if bogofilter else codes.PLAIN,
        )
    raise typer.Exit(status)


@app.command()
def explain(
    file: Annotated[str, typer.Argument(help="A message; stdin without one.")] = "-",
    mail: MailOption = False,
    sms: SmsOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Show which words moved a message's score, and by how many points (occlusion)."""
    from filterd import explain as explaining
    from filterd.check import items
    from filterd.engine import Engine

    _exclude({"--mail": mail, "--sms": sms})
    item = next(items([file], Kind.MAIL if mail else Kind.SMS if sms else None, lines=False))
    if item.message is None:
        raise item.error or FilterdError(file)
    explanation = explaining.explain(Engine.open(*_where(bundle), threads=threads), item.message)
    if as_json:
        print(explaining.as_json(explanation))
    else:
        explaining.show(explanation)


@app.command()
def version() -> None:
    """Print the version of filterd."""
    print(f"filterd {__version__}")


def _judge(bundle: Path | None, threads: int | None) -> "Judge":
    from filterd.engine import Engine

    return Engine.open(*_where(bundle), threads=threads).judge


def _where(bundle: Path | None) -> tuple[Path, ...]:
    return (bundle,) if bundle else ()


def _exclude(options: dict[str, bool]) -> None:
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other; leave one out")


def main() -> None:
    """Entry point: errors become one line and their exit status; a mail in a pipe comes out regardless."""
    try:
        app(standalone_mode=True)
    except FilterdError as error:
        print(f"filterd: {error}", file=sys.stderr)
        sys.exit(_rescue(error.exit_status))
    except BrokenPipeError:  # the reader has seen enough, as in `filterd check … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as ended:
        if ended.code == USAGE_ERROR:
            sys.exit(_rescue(os.EX_USAGE))
        raise
    except Exception:
        if "--tag" not in sys.argv:
            raise
        sys.excepthook(*sys.exc_info())
        sys.exit(_rescue(FilterdError.exit_status))


USAGE_ERROR = 2  # what typer exits with for options that it does not know


def _rescue(status: int) -> int:
    """Where `check --tag` never got to its work: pass the mail on; status 0, or 75 when strict."""
    if "--tag" not in sys.argv or sys.stdin.isatty():
        return status
    import shutil

    shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)
    return os.EX_TEMPFAIL if "--strict" in sys.argv else 0


if __name__ == "__main__":
    main()
