"""Where the `filterd` command begins, and where it ends whatever happened.

Strategy: procmail, maildrop and Dovecot start one process a mail, so what it imports is what it costs. The
commands that they run (`check`, `learn`, `forget` with plain flags) are read here and done at once; so is
`bundle rollback`, while whose command line starts mail is judged wrongly. Whatever else is typed, `--help`
included, goes to the command line in `cli.py`, which does the same with the same functions and takes three
times as long to import.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filterd import version
from filterd.commands import client, pipe
from filterd.commands.pipe import CommandExit
from filterd.errors import FilterdError

if TYPE_CHECKING:
    from filterd.config import Config

USAGE_ERROR = 2  # what typer exits with for options that it does not know
INTERRUPTED = 130  # as a shell says of a program that SIGINT has ended
MAX_SAID = 300  # characters of an error that nobody has foreseen
# Flags without a value, and the field of the command's options that each sets.
_KIND = {"--mail": "mail", "--sms": "sms", "--text": "sms"}
_CHECK = {name: name[2:].replace("-", "_") for name in ("--lines", "--json", "--tag", "--strict")}
_CHECK |= _KIND | {"--exit-code": "exit_code", "--bogofilter": "bogofilter"}
_FLAGS = {"check": _CHECK, "learn": _KIND | {"--spam": "spam", "--ham": "ham"}, "forget": _KIND}


def main() -> None:
    """Entry point: errors become one line and their exit status; a mail in a pipe comes out regardless."""
    pipe.occupy()
    pipe.settle_stderr()
    try:
        _run()
    except FilterdError as error:
        pipe.complain(str(error))
        sys.exit(_rescue(error.exit_status))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        if ended.code == USAGE_ERROR and not isinstance(ended, CommandExit):
            sys.exit(_rescue(os.EX_USAGE))
        raise
    except Exception as error:
        pipe.complain(_defect(error))
        sys.exit(_rescue(FilterdError.exit_status))


def _run() -> None:
    if not _is_pipe():  # a mail's bytes go around it
        pipe.settle_stdout()
    try:
        status = _at_once(sys.argv[1:])
        if status is not None:
            raise CommandExit(status)
        from filterd.commands.cli import app

        app(standalone_mode=True)
    finally:
        if sys.stdout:
            sys.stdout.flush()


def _defect(error: Exception) -> str:
    """One line that belongs into a report, whatever failed."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    at = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
    said = " ".join(str(error).split())[:MAX_SAID]
    return f"{type(error).__name__}: {said} (at {at}); a defect of filterd's, please report it"


def _is_pipe() -> bool:
    """Whether this is a filter in somebody's mail delivery; `sweep --tag` is none."""
    return "--tag" in sys.argv and sys.argv[1:2] != ["sweep"]


def _rescue(status: int) -> int:
    """Where `check --tag` never got to its work: pass the mail on; 0, 75 when strict, 74 if not whole."""
    if not _is_pipe() or (sys.stdin and sys.stdin.isatty()):
        return status
    pipe.settle_stderr()
    try:
        pipe.pass_on(b"", *pipe.streams())
    except (OSError, MemoryError) as error:
        return pipe.give_up(error)
    return os.EX_TEMPFAIL if "--strict" in sys.argv else 0


def _at_once(arguments: Sequence[str]) -> int | None:
    """The exit status of what was done here; None where it takes the whole command line."""
    if arguments == ["--version"]:
        version.show("filterd")
        return 0
    if _is_rollback(arguments):
        return _roll_back(arguments[3] if arguments[2:] else "")
    command, *rest = arguments or [""]
    read = _flags(rest, _FLAGS.get(command, {}))
    if command not in _FLAGS or read is None or os.environ.get("FILTERD_BUNDLE"):
        return None
    paths, given = read
    if command == "check":
        from filterd.commands import check

        options = check.CheckOptions(**given)
        path = client.socket_path()
        if not path:
            from filterd.commands import local

            return local.check(paths, options)
        daemon = client.Daemon(path)
        return check.command(paths, options, lambda: daemon.check, lambda: daemon.style)
    from filterd.commands import learn as correcting

    correct = correcting.learn if command == "learn" else correcting.forget
    switches = correcting.LearnOptions(**given)  # type: ignore[arg-type] # others are not understood here
    return correct(paths, switches, _config)


def _is_rollback(arguments: Sequence[str]) -> bool:
    """`bundle rollback`, or that with `--config FILE`."""
    options = arguments[2:]
    plain = not options or (len(options) == 2 and options[0] == "--config")
    return list(arguments[:2]) == ["bundle", "rollback"] and plain


def _roll_back(config: str) -> int:
    from filterd.config import in_force
    from filterd.promotion import champion

    settings = in_force(Path(config) if config else None)[1]
    print(champion.roll_back(settings.bundles, Path(settings.state)))
    return 0


def _flags(arguments: Sequence[str], known: dict[str, str]) -> tuple[list[str], dict[str, bool]] | None:
    """File names and the flags' fields; None where there is anything else among the arguments."""
    paths = [one for one in arguments if one == "-" or not one.startswith("-")]
    flags = [one for one in arguments if one not in paths]
    if not all(one in known for one in flags):
        return None
    return paths, dict.fromkeys((known[one] for one in flags), True)


def _config() -> "Config":
    """For a daemon that ended while it was being asked; `--config` itself takes the whole command line."""
    from filterd import config

    return config.in_force()[1]
