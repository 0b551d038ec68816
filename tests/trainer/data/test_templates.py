import random
from collections import Counter
from itertools import islice

import pytest

from filterd_trainer.data import templates as own

LOCALES = {one.locale for one in own.templates()}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> own._Writer:
    known = {"name": ("Ada", "Bo", "Cy"), "name.de": ("Uwe",), "who": ("{name}",), "loop": ("{loop}",)}
    monkeypatch.setattr(own, "slots", lambda: known)
    return own._Writer(random.Random(5), "de")


class TestTemplates:
    def test_every_one_can_be_written_in_each_way_tried(self) -> None:
        for template in own.templates():
            locales = own.REGIONS if template.locale == "en" else (template.locale,)
            for seed in range(8):
                writer = own._Writer(random.Random(seed), locales[seed % len(locales)])
                text = writer.write(f"{template.subject}\n{template.body}")
                assert not set(text) & set("{}\\") and text.strip(), template

    def test_both_classes_of_both_kinds_are_about_even(self) -> None:
        counts = Counter((one.kind, one.label) for one in own.templates())
        for kind in ("mail", "sms"):
            assert 0.7 < counts[kind, "ham"] / counts[kind, "spam"] < 1.4

    def test_every_language_has_both_classes(self) -> None:
        for language in {locale[:2] for locale in LOCALES}:
            labels = {one.label for one in own.templates() if one.locale[:2] == language}
            assert labels == {"ham", "spam"}, language

    def test_a_tenth_is_held_out_in_both_classes(self) -> None:
        held = [one for one in own.templates() if one.holdout]
        assert 0.06 < len(held) / len(own.templates()) < 0.14
        assert {(one.kind, one.label) for one in held} == {
            (kind, label) for kind in ("mail", "sms") for label in ("ham", "spam")
        }


class TestGenerate:
    def test_the_same_seed_gives_the_same_messages_and_another_seed_others(self) -> None:
        first = list(own.generate(200, seed=1))
        assert first == list(own.generate(200, seed=1))
        assert first != list(own.generate(200, seed=2))

    def test_messages_are_distinct_and_spread_over_the_templates(self) -> None:
        count = 3 * len(own.templates())
        found = list(own.generate(count, seed=3))
        assert len({(one.subject, one.text) for one in found}) == len(found) == count
        assert max(Counter(one.template for one in found).values()) <= 4

    def test_held_out_templates_and_the_others_share_none(self) -> None:
        held = {one.template for one in own.generate(500, seed=4, holdout=True)}
        others = {one.template for one in own.generate(2000, seed=4, holdout=False)}
        assert held and others and not held & others

    def test_ends_when_the_templates_have_no_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        only = own.Template(
            id="0a", kind="sms", label="ham", category="test", locale="de", subject="", body="{ja|nein}"
        )
        monkeypatch.setattr(own, "templates", lambda: (only,))
        monkeypatch.setattr(own, "_worn", lambda text, writer: text)
        assert 2 <= len(list(own.generate(10_000, seed=1))) < 100

    def test_an_sms_has_no_subject(self) -> None:
        assert not any(one.subject for one in islice(own.generate(500, seed=6), 500) if one.kind == "sms")


class TestWriter:
    def test_a_slot_named_twice_has_one_value(self, written: own._Writer) -> None:
        assert written.write("{name} {name}") == "Uwe Uwe"

    def test_a_numbered_slot_has_another_value(self, written: own._Writer) -> None:
        written.locale = "en"
        first, second = written.write("{name} {name2}").split()
        assert first != second

    def test_a_slot_within_a_slot_and_nested_alternatives(self, written: own._Writer) -> None:
        assert written.write("{who|{who|{who}}}") == "Uwe"

    def test_several_different_values_become_paragraphs(self, written: own._Writer) -> None:
        written.locale = "en"
        assert sorted(written.write("{3*name}").split("\n\n")) == ["Ada", "Bo", "Cy"]

    @pytest.mark.parametrize(("text", "length"), [("{#4}", 4), ("{@7}", 7), ("{^3}", 3), ("{10..99}", 2)])
    def test_random_characters(self, written: own._Writer, text: str, length: int) -> None:
        assert len(written.write(text)) == length

    @pytest.mark.parametrize("text", ["{nobody}", "{a|b", "{loop}", "{9}"])
    def test_what_cannot_be_written_is_an_error(self, written: own._Writer, text: str) -> None:
        with pytest.raises(ValueError):
            written.write(text)
