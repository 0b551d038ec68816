from pathlib import Path

import pandas as pd
import pytest

from filterd.errors import BadInput, NotFound
from filterd_trainer.data.rules import ALL, SourceRules

GIVEN = """
sources:
  shop: {lang: de, drop: [{label: spam, text: '\\A\\D*\\Z'}, {sub: promo}]}
  tpl_*: {most: 3, most_a_language: 2}
families: {presta*: presta}
"""


def rules(tmp_path: Path) -> SourceRules:
    (tmp_path / "rules.yaml").write_text(GIVEN)
    return SourceRules.load(str(tmp_path / "rules.yaml"))


def test_a_row_is_dropped_where_all_of_a_condition_hold(tmp_path: Path) -> None:
    shop = rules(tmp_path).of("shop")
    assert shop.drops({"label": "spam", "text": "a saying"}) and shop.drops({"sub": "promo"})
    assert not shop.drops({"label": "spam", "text": "call 1"})
    assert not shop.drops({"label": "ham", "text": "a saying"})
    assert rules(tmp_path).of("else") == ALL and SourceRules.load("") == SourceRules()


def test_families_are_one_group(tmp_path: Path) -> None:
    assert [rules(tmp_path).family(link) for link in ("group:presta17", "group:x", "id:presta")] == [
        "group:presta",
        "group:x",
        "id:presta",
    ]


def test_limits_of_a_source_and_its_languages(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Text": [*"abcdefgh"], "Source": ["tpl_a"] * 6 + ["b"] * 2, "Lang": [*"ddddefdd"]})
    kept = rules(tmp_path).capped(frame)
    assert len(kept[kept["Source"] == "tpl_a"]) == 3 and len(kept[kept["Source"] == "b"]) == 2
    assert kept[kept["Source"] == "tpl_a"]["Lang"].value_counts().max() <= 2
    mixed = frame[::-1].reset_index(drop=True)
    assert rules(tmp_path).capped(mixed)["Text"].tolist() == kept["Text"].tolist()[::-1]


def test_the_preset_of_the_public_sources_reads() -> None:
    assert SourceRules.load("public").of("sms_id").drops({"sub": "promo"})
    assert SourceRules.load("public").family("group:pkp-lib") == "group:ojs"


@pytest.mark.parametrize(
    "wrong", ["sources: [a]", "sources: {a: {dorp: 1}}", "a: [", "sources: {a: {drop: [{x: '('}]}}"]
)
def test_a_wrong_file_is_named(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(wrong)
    with pytest.raises(BadInput, match="not a file of rules"):
        SourceRules.load(str(file))
    with pytest.raises(NotFound, match="--rules"):
        SourceRules.load(str(tmp_path / "absent"))
