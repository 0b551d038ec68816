"""Debian's Chromium, headless and without a network, as the judge of which words of an HTML mail are seen.

    with running() as browser:
        for words in browser.words([html, …]):   # one list a document
            [word.text for word in words if word.seen]

Documents are shown side by side in sandboxed frames of one page, so no script runs, as in a mail client. A
word is seen where the page's picture changes when all text is made transparent, and its type is not tiny. It
speaks the DevTools protocol through a pipe and needs no driver.
"""

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from PIL import Image, ImageChops

from tests.conftest import need_program

WIDTH: Final = 800  # pixels of a frame: a window to read mail in
MIN_TYPE_PX: Final = 3.0
SEEN_CHANGE, UNSEEN_CHANGE = 34, 12  # of 255: less than the one is no word, more than the other is one
TIMEOUT_S: Final = 60.0

FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-extensions", "--disable-component-update", "--disable-default-apps", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars", "--force-device-scale-factor=1",
    "--disable-dev-shm-usage", "--remote-debugging-pipe", "--mute-audio", "--disable-lcd-text",
)  # fmt: skip

# A word is a run of letters in a text node, or one that an element shows without a node of its own.
SCRIPT: Final = """
(async (documents, width, height, columns) => {
  document.body.innerHTML = ''; document.body.style.margin = '0';
  const frames = documents.map((html, i) => {
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-same-origin';
    frame.style.cssText = `position:absolute;border:0;width:${width}px;height:${height}px;`
      + `left:${(i % columns) * width}px;top:${Math.floor(i / columns) * height}px`;
    document.body.appendChild(frame);
    const inner = frame.contentDocument; inner.open(); inner.write(html); inner.close();
    return frame;
  });
  await new Promise(done => setTimeout(done, 50));
  const found = frames.map((frame, i) => {
    const inner = frame.contentDocument, view = frame.contentWindow, words = [];
    const add = (text, rects, element, own) => {
      for (const word of text.match(/\\S+/g) || []) {
        words.push({text: word, size: parseFloat(view.getComputedStyle(element).fontSize) || 0, own,
                    rects: own ? rects : []});
      }
    };
    const walker = inner.createTreeWalker(inner, NodeFilter.SHOW_TEXT);
    const range = inner.createRange();
    while (walker.nextNode()) {
      const node = walker.currentNode, parent = node.parentElement;
      if (!parent || parent.closest('style,script,title,head,textarea,select')) continue;
      const size = parseFloat(view.getComputedStyle(parent).fontSize) || 0;
      for (const match of node.data.matchAll(/\\S+/g)) {
        range.setStart(node, match.index); range.setEnd(node, match.index + match[0].length);
        const rects = [...range.getClientRects()].map(r => [r.left, r.top, r.right, r.bottom]);
        words.push({text: match[0], size, rects});
      }
    }
    return words;
  });
  return JSON.stringify(found);
})
"""
TRANSPARENT: Final = """
(() => { for (const frame of document.querySelectorAll('iframe')) {
  const style = frame.contentDocument.createElement('style');
  style.textContent = '*,*::before,*::after,*::first-line,*::first-letter{-webkit-text-fill-color:transparent'
    + '!important;-webkit-text-stroke-color:transparent!important;text-shadow:none!important;'
    + 'text-decoration-color:transparent!important;transition:none!important}'
    + 'svg *{fill:transparent!important;stroke:transparent!important}';
  frame.contentDocument.documentElement.appendChild(style);
  for (const e of frame.contentDocument.querySelectorAll('[style*="fill-color"]'))
    e.style.setProperty('-webkit-text-fill-color', 'transparent', 'important');
} return 1; })()
"""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a document. seen: True or False, None where the picture leaves it open."""

    text: str
    seen: bool | None


class Chromium:
    """One browser process and one page in it."""

    def __init__(self, process: "subprocess.Popen[bytes]", into: int, out: int) -> None:
        self._process = process
        self._into, self._out = into, out
        self._ids = 0
        self._rest = b""
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def words(self, documents: Sequence[str], height: int = 1_000, columns: int = 4) -> list[list[Word]]:
        """The words of each document in its order, of as much as `height` pixels show."""
        rows = -(-len(documents) // columns)
        size = {"width": WIDTH * columns, "height": height * rows}
        self._call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)
        arguments = ",".join(json.dumps(value) for value in (list(documents), WIDTH, height, columns))
        answer = self._evaluate(f"{SCRIPT}({arguments})")
        before = self._picture()
        self._evaluate(TRANSPARENT)
        changed = ImageChops.difference(before, self._picture())
        red, green, blue = changed.split()
        most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        found = json.loads(answer)
        return [
            [self._judged(word, most, (i % columns) * WIDTH, i // columns * height, height) for word in words]
            for i, words in enumerate(found)
        ]

    def _judged(self, word: dict[str, Any], changed: Image.Image, left: int, top: int, height: int) -> Word:
        change, outside = 0, False
        for x0, y0, x1, y1 in word["rects"]:
            edge = 1 if x1 - x0 > 4 else 0  # the next word's edge is not this one's
            box = (
                max(0, int(x0) + edge),
                max(0, int(y0)),
                min(WIDTH, int(x1) + 1 - edge),
                min(height, int(y1) + 1),
            )
            outside = outside or y1 >= height or x1 >= WIDTH  # one has to scroll
            if x1 > x0 and y1 > y0 and box[2] > box[0] and box[3] > box[1]:
                piece = changed.crop((box[0] + left, box[1] + top, box[2] + left, box[3] + top))
                change = max(change, cast(tuple[int, int], piece.getextrema())[1])
        if outside and change < SEEN_CHANGE:
            return Word(word["text"], None)
        if word["size"] < MIN_TYPE_PX or change <= UNSEEN_CHANGE:
            return Word(word["text"], False)
        return Word(word["text"], True if change >= SEEN_CHANGE else None)

    def _picture(self) -> Image.Image:
        data = self._call("Page.captureScreenshot", format="png", optimizeForSpeed=True)["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def _evaluate(self, expression: str) -> Any:
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def _call(self, method: str, **parameters: Any) -> Any:
        self._ids += 1
        message = {"id": self._ids, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._into, data) :]
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._ids:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self) -> bytes:
        while b"\0" not in self._rest:
            more = os.read(self._out, 1 << 20)
            assert more, "Chromium went away"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return message


@contextlib.contextmanager
def running() -> Iterator[Chromium]:
    """Chromium for the time of a block; the test is skipped where it is not installed."""
    need_program("chromium")
    folder = tempfile.mkdtemp(prefix="filterd-chromium-")
    read_end, into = os.pipe()
    out, write_end = os.pipe()
    program = shutil.which("chromium") or "chromium"
    command = f'exec "$0" "$@" 3<&{read_end} 4>&{write_end}'
    process = subprocess.Popen(
        ["bash", "-c", command, program, *FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(read_end, write_end), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, "HOME": folder}, start_new_session=True,
    )  # fmt: skip
    os.close(read_end)
    os.close(write_end)
    try:
        yield Chromium(process, into, out)
    finally:
        os.close(into)
        os.close(out)
        process.terminate()
        process.wait(TIMEOUT_S)
        shutil.rmtree(folder, ignore_errors=True)
