"""The text and the links of a PDF's first pages, read by PDFium.

PDFium is C++ and its input an attacker's, so it runs in a process of its own, which may neither compute nor
grow for long: 0.1 s of CPU for an ordinary invoice, most of it starting Python. Where it fails, is not
installed or takes too long, a PDF says nothing; its attachment is still a fact.
"""

import json
import resource
import subprocess
import sys
from functools import lru_cache
from typing import Final

__all__ = ["read"]

MAX_PAGES: Final = 3  # what somebody sees who opens it
MAX_TEXT: Final = 32_768  # characters
MAX_LINKS: Final = 32
MAX_CPU_S: Final = 2
MAX_WALL_S: Final = 10.0  # on a machine that has more to do
MAX_HEAP: Final = 192 << 20  # bytes; the library itself takes 30 MB
MAX_ANSWER: Final = 1 << 20  # bytes


@lru_cache(maxsize=2)  # the readings of an ambiguous mail share their attachments
def read(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Text and link addresses of a PDF; nothing of one that cannot be read. Never raises."""
    try:
        run = subprocess.run(
            [sys.executable, "-I", __file__],
            check=False,
            input=data,
            capture_output=True,
            timeout=MAX_WALL_S,
            env={},
        )
        answer = json.loads(run.stdout[:MAX_ANSWER]) if run.returncode == 0 else ["", []]
    except (OSError, subprocess.SubprocessError, ValueError):
        return "", ()
    return str(answer[0]), tuple(answer[1])


def _main() -> None:
    """What the process does: a PDF from standard input, its text and links as JSON to standard output."""
    import pypdfium2

    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_HEAP, MAX_HEAP))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_ANSWER, MAX_ANSWER))
    document = pypdfium2.PdfDocument(sys.stdin.buffer.read())
    texts: list[str] = []
    links: list[str] = []
    for number in range(min(MAX_PAGES, len(document))):
        page = document[number]
        texts.append(_text(page))
        links += _links(document, page)
    json.dump(["\n".join(texts)[:MAX_TEXT], links[:MAX_LINKS]], sys.stdout)


# pypdfium2 has no types, and the reader itself does not import it.
def _text(page) -> str:  # type: ignore[no-untyped-def]
    """A page's text in the order of its content stream; hidden text, too."""
    import ctypes

    from pypdfium2 import raw

    letters = page.get_textpage()
    count = min(MAX_TEXT, raw.FPDFText_CountChars(letters.raw))
    if count <= 0:
        return ""
    buffer = (ctypes.c_ushort * (count + 1))()
    written = raw.FPDFText_GetText(letters.raw, 0, count, buffer)
    return bytes(buffer)[: 2 * max(0, written - 1)].decode("utf-16-le", "replace")


def _links(document, page) -> list[str]:  # type: ignore[no-untyped-def]
    """Where a page's link annotations lead (PDF 32000 12.6.4.7)."""
    import ctypes

    from pypdfium2 import raw

    found: list[str] = []
    position, link = ctypes.c_int(0), raw.FPDF_LINK()
    while len(found) < MAX_LINKS and raw.FPDFLink_Enumerate(page.raw, position, link):
        action = raw.FPDFLink_GetAction(link)
        size = raw.FPDFAction_GetURIPath(document.raw, action, None, 0) if action else 0
        if 1 < size <= 2_048:
            buffer = ctypes.create_string_buffer(size)
            raw.FPDFAction_GetURIPath(document.raw, action, buffer, size)
            found.append(buffer.value.decode("utf-8", "replace"))
    return found


if __name__ == "__main__":
    _main()
