"""Every preset loads; a recipe that cannot be is refused in one line that names the key."""

from pathlib import Path

import pytest

from filterd.errors import BadInput, ConfigError, NotFound
from filterd_trainer.training import recipe


@pytest.mark.parametrize("name", recipe.names())
def test_presets_load(name: str) -> None:
    assert recipe.load(name).epochs > 0


def test_the_lectures_numbers() -> None:
    lecture = recipe.load("lecture")
    assert (lecture.batch_size, lecture.learning_rate, lecture.weight_decay) == (8, 5e-5, 0.1)
    assert (lecture.epochs, lecture.eval_freq, lecture.eval_iter, lecture.dropout) == (5, 50, 1, 0.0)
    assert (lecture.strategy, lecture.schedule, lecture.clip_norm) == ("last_block", "constant", 0.0)
    assert (lecture.precision, recipe.load("gpt2").precision) == ("fp32", "auto")


def test_what_is_given_replaces_what_the_preset_says() -> None:
    assert recipe.load("lecture", epochs=2, seed_is_no_key=None).epochs == 2


@pytest.mark.parametrize(
    ("yaml", "named"),
    [
        pytest.param("epochs: none", "epochs", id="type"),
        pytest.param("epochs: 0", "epochs", id="zero"),
        pytest.param("patience: -1", "patience", id="negative"),
        pytest.param("warmup: 1.0", "warmup", id="all warm-up"),
        pytest.param("epoch: 3", "epoch", id="unknown key"),
        pytest.param("strategy: first_block", "first_block", id="unknown strategy"),
        pytest.param("- 1", "object", id="no mapping"),
        pytest.param("a: b: c", "mapping", id="no YAML"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, yaml: str, named: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml)
    with pytest.raises(BadInput, match=named) as raised:
        recipe.load(str(file))
    assert str(file) in str(raised.value)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="epochs"):
        recipe.load("lecture", epochs=0)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(NotFound, match="lecture"):
        recipe.load("lektion")
