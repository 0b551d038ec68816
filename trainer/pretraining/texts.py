"""The texts that a student reads while it learns from a teacher: a training part's messages without their
labels, and prose; cut to many lengths, and without the marks of the corpus they come from. Our own messages
come with the dataset, so that those of its other parts stay unread.

Enron-Spam is lower-cased and its punctuation stands between blanks; SpamAssassin's and the SMS are as people
typed them. A model that is shown them as they are learns which corpus a message is from, so many are retyped
(`filterd_trainer.disguises.augment`).
"""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from filterd.api import Kind
from filterd.errors import BadInput, NotFound, Unwritable
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.disguises.augment import retyped
from filterd_trainer.pretraining.tokens import documents

LONGEST = 420  # characters of a cut; some 100 tokens, a window has 128
SHORTEST = 60
FROM_THE_START = 0.6  # of long texts; the others begin in the middle, as a later window does
PASSAGES_A_DOCUMENT = 20  # of a book, evenly spread; a dialogue has fewer


def cut(whole: str, draw: random.Random) -> str:
    """A passage of at most LONGEST characters that begins with a word; short texts are taken whole."""
    length = draw.randint(SHORTEST, LONGEST)
    if len(whole) <= length:
        return whole
    if draw.random() < FROM_THE_START:
        return whole[:length]
    start = whole.find(" ", draw.randrange(len(whole) - length + 1)) + 1
    return whole[start : start + length]


def messages(dataset: Dataset, count: int, draw: random.Random) -> Iterator[str]:
    """So many of the training part's texts, each once: of every source and label as many as there are, the
    larger ones sharing equally what is left."""
    frame = dataset.split("train")
    groups = [group for _, group in frame.groupby(["Source", "Label"], sort=True)]
    groups.sort(key=len)
    for i, group in enumerate(groups):
        share = min(len(group), count // (len(groups) - i))
        count -= share
        chosen = group.sample(share, random_state=draw.getrandbits(32))
        for message, kind in chosen[["Text", "Kind"]].to_numpy():
            yield retyped(str(message), Kind(kind), draw)


def prose(file: Path, count: int, draw: random.Random) -> Iterator[str]:
    """So many passages of a text file's documents, of each about as many as of the others."""
    found: list[str] = []
    for document in documents(file):
        passages = [" ".join(part.split()) for part in document.split("\n\n")]
        passages = [passage for passage in passages if len(passage) >= SHORTEST // 2]
        found += draw.sample(passages, min(PASSAGES_A_DOCUMENT, len(passages)))
    return iter(draw.sample(found, min(count, len(found))))


def write(out: Path, parts: Iterable[Iterable[str]], draw: random.Random) -> int:
    """JSON lines with a `text` each, all parts mixed; returns how many. Raises Unwritable."""
    lines = [json.dumps({"text": cut(whole, draw)}) for part in parts for whole in part if whole.strip()]
    draw.shuffle(lines)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise Unwritable(f"{out}: {error.strerror}; choose another --out") from error
    return len(lines)


def mix(out: Path, dataset: Dataset, prose_file: Path | None, counts: tuple[int, int], seed: int) -> int:
    """Write messages and prose, so many of each. Raises NotFound, BadInput, Unwritable."""
    draw = random.Random(seed)  # noqa: S311 — no secret
    parts = [messages(dataset, counts[0], draw)]
    return write(out, [*parts, prose(prose_file, counts[1], draw)] if prose_file else parts, draw)


def read(file: Path) -> list[str]:
    """What `write` wrote. Raises NotFound, BadInput."""
    try:
        return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}; make it with `trainer distill texts`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f'{file}: needs one JSON object a line with a "text" ({error})') from error
