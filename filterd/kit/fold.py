"""A header's lines."""

import re

FOLD_AT = 76  # characters of a line before its end; RFC 5322 2.1.1 recommends 78 and forbids 998


def fold(name: str, value: str, *, line_end: str = "\n") -> str:
    """One header as lines: broken before blanks and after commas, RFC 5322 2.2.3."""
    lines, line = [], f"{name}:"
    for word in re.findall(r"[^ ,]+,*|,+", value):
        glue = "" if line.endswith(",") and f",{word}" in value else " "
        if len(line) + len(glue) + len(word) > FOLD_AT and line.strip() != f"{name}:":
            lines.append(line)
            line = "\t" + word
        else:
            line += glue + word
    return line_end.join([*lines, line]) + line_end
