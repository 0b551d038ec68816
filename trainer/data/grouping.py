"""Which messages are near-duplicates of each other, so that a split keeps them on one side.

Strategy: a text is the set of its shingles, five tokens each with digits folded. Two passes over the pairs
that share any, counted exactly as blocks of a sparse matrix product:
1. pairs whose sets overlap by half (Jaccard, Broder 1997) are one campaign;
2. a shingle found in more than BOILERPLATE campaigns is a footer or a disclaimer and is left out; of what
   remains, a text that shares half of its shingles with another one quotes it and joins it.
Without the second pass a reply is no duplicate of the mail it quotes; without leaving the boilerplate out,
the footers of mailing lists chained 13,000 of 86,000 messages, ham and spam, into one group.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import numpy as np
import numpy.typing as npt
from scipy import sparse  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

Report = Callable[[str, int, int], None]  # (stage, done, total); total 0 where it is unknown
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

SHINGLE = 5  # tokens; as corpus studies of these very sets count them
BOILERPLATE = 20  # campaigns that hold a shingle; at 200 the footers still chain 2,276 messages, at 20 none
BLOCK = 20_000_000  # pairs counted at a time; some 250 MB

_DIGITS = re.compile(r"\d+")
# Chinese and Japanese are written without blanks: there each character is a token.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


def quiet(stage: str, done: int, total: int) -> None:
    """A Report that says nothing."""


def group(texts: Sequence[str], report: Report = quiet) -> Ints:
    """The number of each text's group of near-duplicates, [n], counted from 0 by first appearance."""
    if not texts:
        return np.empty(0, np.int64)
    rows, columns = _incidence(texts, report)
    near = list(_pairs(rows, columns, len(texts), _overlap, report, "near-duplicates"))
    campaigns = _components(near, len(texts))
    informative = ~_boilerplate(columns, campaigns[rows])[columns]
    near += _pairs(rows[informative], columns[informative], len(texts), _contained, report, "quotations")
    return _components(near, len(texts))


def joined(groups: Ints, links: Iterable[Iterable[str]]) -> Ints:
    """Groups, [n], with those made one whose rows share a link; links: of each row, or of none at all."""
    numbers = defaultdict[str, int](count(int(groups.max(initial=-1)) + 1).__next__)
    pairs = [
        (int(group), numbers[link]) for group, of_row in zip(groups, links, strict=False) for link in of_row
    ]
    if not pairs:
        return groups
    i, j = np.array(pairs, np.int64).T
    nodes = int(groups.max()) + 1 + len(numbers)
    graph = sparse.coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(nodes, nodes))
    _, found = connected_components(graph, directed=False)
    return _by_appearance(found[groups])


def tokens(text: str) -> list[str]:
    """Words and numbers without case and punctuation; every number reads 0."""
    return _TOKEN.findall(_DIGITS.sub("0", text.casefold()))


def _incidence(texts: Sequence[str], report: Report) -> tuple[Ints, Ints]:
    """Which text holds which shingle, each pair once: (text index, shingle index), both [pairs]."""
    words = defaultdict[str, int](count(1).__next__)
    ids: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for i, text in enumerate(texts):
        found = [*map(words.__getitem__, tokens(text))]
        # A text shorter than a shingle is one, filled up with a word that none has.
        found += [0] * (SHINGLE - len(found))
        ids += found
        lengths[i] = len(found)
        if i % 1000 == 0:
            report("shingles", i, len(texts))
    report("shingles", len(texts), len(texts))
    rows = np.repeat(np.arange(len(texts)), lengths)
    starts = np.flatnonzero(rows[: -SHINGLE + 1] == rows[SHINGLE - 1 :])  # windows within one text
    _, columns = np.unique(_hashes(np.array(ids, np.uint64))[starts], return_inverse=True)
    pairs = _distinct(rows[starts] * (columns.max() + 1) + columns)
    return pairs // (columns.max() + 1), pairs % (columns.max() + 1)


def _distinct(numbers: Ints) -> Ints:
    """Each number once, ascending; with millions of them far faster than numpy 2.3's unique."""
    numbers = np.sort(numbers)
    first = np.ones(len(numbers), np.bool_)
    first[1:] = numbers[1:] != numbers[:-1]
    return numbers[first]


def _hashes(ids: Hashes) -> Hashes:
    """A hash of every SHINGLE ids in a row, [n - SHINGLE + 1]; the mixer is splitmix64 (Steele 2014)."""
    count = len(ids) - SHINGLE + 1
    mixed = np.zeros(count, np.uint64)
    for k in range(SHINGLE):
        mixed = (mixed ^ ids[k : k + count]) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


Near = Callable[[Ints, Ints, Ints], npt.NDArray[np.bool_]]  # (shared, size, size of the other) shingles


def _overlap(shared: Ints, size: Ints, other: Ints) -> npt.NDArray[np.bool_]:
    return 2 * shared >= size + other - shared


def _contained(shared: Ints, size: Ints, other: Ints) -> npt.NDArray[np.bool_]:
    return 2 * shared >= np.minimum(size, other)


def _pairs(rows: Ints, columns: Ints, count: int, near: Near, report: Report, stage: str) -> Iterator[Ints]:
    """Near pairs (i < j) of texts, as [2, pairs] a block."""
    sizes = np.bincount(rows, minlength=count)
    # Most shingles are in one text alone: they count for its size and pair it with none.
    shared_by = np.bincount(columns)
    common = shared_by[columns] > 1 if len(columns) else np.zeros(0, np.bool_)
    places = np.cumsum(shared_by > 1) - 1
    rows, columns = rows[common], places[columns[common]]
    width = int(columns.max()) + 1 if len(columns) else 1
    holds = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(count, width))
    held = holds.T.tocsr()
    work = np.cumsum(np.bincount(rows, weights=np.diff(held.indptr)[columns], minlength=count))
    start = 0
    while start < count:
        done = work[start - 1] if start else 0.0
        end = max(start + 1, int(np.searchsorted(work, done + BLOCK, side="right")))
        shared = (holds[start:end] @ held).tocoo()
        i, j = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        keep = (i < j) & near(shared.data, sizes[i], sizes[j])
        yield np.stack([i[keep], j[keep]])
        start = end
        report(stage, min(end, count), count)


def _components(pairs: list[Ints], count: int) -> Ints:
    """Numbers of the groups that pairs connect, by first appearance."""
    i, j = np.concatenate(pairs, axis=1)
    graph = sparse.coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(count, count))
    _, found = connected_components(graph, directed=False)
    return _by_appearance(found)


def _by_appearance(numbers: Ints) -> Ints:
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int64)[inverse]


def _boilerplate(columns: Ints, campaigns: Ints) -> npt.NDArray[np.bool_]:
    """For every shingle, whether more than BOILERPLATE campaigns hold it."""
    width = int(campaigns.max()) + 1
    held = _distinct(columns * width + campaigns) // width
    wide: npt.NDArray[np.bool_] = np.bincount(held, minlength=int(columns.max()) + 1) > BOILERPLATE
    return wide
