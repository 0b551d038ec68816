"""Orders of an epoch: everybody once, equal shares where asked, like lengths together, the same by seed."""

from collections import Counter

import pytest
import torch

from filterd_trainer.training import batches
from filterd_trainer.training.batches import Rows

LENGTHS = [(i * 7) % 41 + 1 for i in range(205)]


def flat(drawn: list[batches.Batch]) -> list[int]:
    return [i for batch in drawn for i in batch]


def test_rows_are_padded_to_the_longest_of_their_batch() -> None:
    rows = Rows.of([[1], [2, 3, 4], [5, 6]])
    padded, lengths = rows.batch([2, 0], pad=9)
    assert padded.tolist() == [[5, 6], [1, 9]] and lengths.tolist() == [2, 1]


def test_rows_of_features_are_padded_with_zeros() -> None:
    rows = Rows(torch.arange(6.0).reshape(3, 2), [0, 1, 3])
    padded, lengths = rows.batch([0, 1])
    assert padded.tolist() == [[[0, 1], [0, 0]], [[2, 3], [4, 5]]] and lengths.tolist() == [1, 2]


def test_by_length_takes_every_message_once() -> None:
    drawn = batches.by_length(LENGTHS, 8)()
    assert sorted(flat(drawn)) == list(range(205))
    assert Counter(map(len, drawn)) == {8: 25, 5: 1}


def test_by_length_wastes_little_padding() -> None:
    drawn = batches.by_length(LENGTHS, 8)()
    padded = sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in drawn)
    assert padded < 1.1 * sum(LENGTHS)


def test_batches_come_in_random_order() -> None:
    longest = [max(LENGTHS[i] for i in batch) for batch in batches.by_length(LENGTHS, 8)()]
    assert longest != sorted(longest)


@pytest.mark.parametrize(
    ("groups", "shares"),
    [
        pytest.param([0] * 90 + [1] * 10, {0: 50, 1: 50}, id="one to nine"),
        pytest.param([0] * 98 + [1] * 2, {0: 50, 1: 50}, id="a few many times"),
        pytest.param(["a"] * 50 + ["b"] * 30 + ["c"] * 19, {"a": 33, "b": 33, "c": 33}, id="three groups"),
    ],
)
def test_groups_have_equal_shares(groups: list[object], shares: dict[object, int]) -> None:
    drawn = flat(batches.by_length(list(range(1, len(groups) + 1)), 8, groups)())
    assert Counter(groups[i] for i in drawn) == shares


def test_an_epoch_may_be_shorter_than_the_data() -> None:
    drawn = flat(batches.by_length([1] * 100, 10, ["a"] * 90 + ["b"] * 10, messages=20)())
    assert len(drawn) == 20 and sum(i >= 90 for i in drawn) == 10


def test_a_small_group_is_used_up_before_it_repeats() -> None:
    groups = [0] * 90 + [1] * 10
    times = Counter(i for i in flat(batches.by_length([1] * 100, 8, groups)()) if groups[i])
    assert set(times.values()) == {5}


@pytest.mark.parametrize("order", [batches.shuffled(205, 8), batches.by_length(LENGTHS, 8)])
def test_the_seed_decides_an_epoch_and_epochs_differ(order: batches.Order) -> None:
    torch.manual_seed(1)
    first, second = order(), order()
    torch.manual_seed(1)
    assert (order(), order()) == (first, second) and first != second


def test_shuffled_is_the_lectures_data_loader() -> None:
    torch.manual_seed(123)
    data = torch.utils.data.TensorDataset(torch.arange(205))
    loader: torch.utils.data.DataLoader[tuple[torch.Tensor, ...]] = torch.utils.data.DataLoader(
        data, batch_size=8, shuffle=True, drop_last=True
    )
    expected = [[batch.tolist() for (batch,) in loader] for _ in range(2)]
    torch.manual_seed(123)
    order = batches.shuffled(205, 8)
    assert [order(), order()] == expected


def test_shares_as_roots_of_sizes() -> None:
    sizes: dict[object, int] = {"mail 0 a": 100, "mail 0 b": 400, "mail 1 a": 9, "sms 0 c": 1}
    found = batches.shares(sizes, root=True)
    assert found == pytest.approx({"mail 0 a": 1 / 9, "mail 0 b": 2 / 9, "mail 1 a": 1 / 3, "sms 0 c": 1 / 3})
    drawn = batches.by_length(
        [1] * 510, 8, [name for name, n in sizes.items() for _ in range(n)], root=True
    )()
    assert abs(sum(len(batch) for batch in drawn) - 510) <= len(sizes)
