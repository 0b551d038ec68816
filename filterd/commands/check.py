"""`filterd check`: messages from files or stdin, verdicts to stdout in one of several forms.

Rule: with `--tag` this is a filter in somebody's mail delivery, and the mail comes first. Whatever happens
here, the original goes to stdout; only what is already written cannot be taken back, and then the exit
status says so and the program before us in the pipe still has its copy.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from filterd import headers
from filterd.api import Kind
from filterd.commands import pipe
from filterd.commands.input import (
    MAX_MESSAGE_BYTES,
    MESSAGES_PER_BATCH,
    Item,
    Judge,
    asked_kind,
    check_readable,
    exclude,
    items,
)
from filterd.commands.output import ExitCode, ExitStatus, Output, as_json, line, one_line
from filterd.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What `filterd check` was asked for, besides the messages; each field is the option of its name."""

    mail: bool = False
    sms: bool = False
    lines: bool = False
    json_lines: bool = False
    json: bool = False
    tag: bool = False
    strict: bool = False
    exit_code: bool = False
    bogofilter: bool = False


Style = Callable[[], headers.HeaderStyle]  # asked for after judging: a daemon says it with its verdict


def command(
    paths: Sequence[str],
    options: CheckOptions,
    open_judge: Callable[[], Judge],
    style: Style = headers.HeaderStyle,
) -> int:
    """Do what `filterd check` does; returns the exit status. Raises what `open_judge` raises.

    style: for --tag. Raises ConfigError for options that exclude each other.
    """
    kind = asked_kind(mail=options.mail, sms=options.sms)
    exclude({"--json": options.json, "--tag": options.tag})
    exclude({"--tag": options.tag, "--lines": options.lines, "--json-lines": options.json_lines})
    statuses = {"--exit-code": options.exit_code, "--bogofilter": options.bogofilter}
    exclude({"--tag": options.tag, **statuses})
    exclude({"--json-lines": options.json_lines, **statuses})
    if options.tag:
        if paths or options.sms:
            raise ConfigError("--tag reads one mail from stdin; leave out files and --sms")
        return tag(open_judge, style, strict=options.strict)
    if options.json_lines:
        from filterd.commands import jsonlines

        return jsonlines.run(paths, kind, open_judge(), sys.stdout)
    codes = ExitCode
    return run(
        items(paths, kind, lines=options.lines),
        open_judge(),
        Output.JSON if options.json else Output.HUMAN,
        codes.SPAMC if options.exit_code else codes.BOGOFILTER if options.bogofilter else codes.PLAIN,
    )


def run(inputs: Iterator[Item], judge: Judge, output: Output, exit_code: ExitCode) -> int:
    """Judge and print everything; returns the exit status. Errors go to stderr, the rest is still judged."""
    status = ExitStatus(exit_code)
    while batch := list(islice(inputs, MESSAGES_PER_BATCH)):
        verdicts = iter(judge([item.message for item in batch if item.message]))
        for item in batch:
            if item.error:
                pipe.complain(str(item.error))
                status.failed(item.error)
                continue
            found = next(verdicts)
            status.judged(found)
            print(json.dumps(as_json(item, found)) if output is Output.JSON else line(item, found))
    sys.stdout.flush()
    return status.value


def tag(open_judge: Callable[[], Judge], style: Style, *, strict: bool) -> int:
    """Copy the mail on stdin to stdout with our headers on top; returns the exit status.

    Where judging fails the original comes out as it is (status 0, or 75 when strict), one line on stderr.
    Where it cannot all be read or written the status is 74, so that the program before us keeps its copy.
    """
    status = 0
    try:
        source, sink = pipe.streams()
        raw = source.read(MAX_MESSAGE_BYTES)
        try:
            message = check_readable(raw, "stdin", Kind.MAIL)
            (verdict,) = open_judge()([message])
            out = headers.tag(raw, verdict, style())
        except Exception as error:  # the mail comes first, whatever it was
            pipe.complain(f"{one_line(error)}; the mail is passed on untagged")
            out, status = raw, os.EX_TEMPFAIL if strict else 0
        pipe.pass_on(out, source, sink)
    except (OSError, MemoryError) as error:
        return pipe.give_up(error)
    return status
