"""The memory: in effect at once for its owner, bounded for others, the same after a restart."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Label, Message
from filterd.errors import StoreError
from filterd.reading.text import read
from filterd.scoring.memory import CERTAIN, SITE, Memory, Recollection, fuse
from filterd.scoring.owner import RAMP
from filterd.scoring.saved import load, save
from filterd.scoring.traits import Traits, of_message

UNSURE_FROM, SPAM_FROM = 1.5, 5.0  # log-odds, as of a bundle
SPAM, HAM = Label.SPAM, Label.HAM


def traits(raw: bytes) -> Traits:
    return of_message(raw, read(Message(raw, kind=Kind.MAIL))[0])


def letter(words: str, sender: str = "a@one.example", to: str = "me@example.org", n: int = 0) -> Traits:
    head = f"From: {sender}\nTo: {to}\nSubject: {words[:20]}\nMessage-ID: <{n}@x>\n\n"
    return traits(f"{head}{words}\n".encode())


def words(seed: int, count: int = 40) -> str:
    rng = random.Random(seed)
    made = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 8))) for _ in range(count)]
    return " ".join(made)


def label(log_odds: float) -> str:
    return "spam" if log_odds >= SPAM_FROM else "unsure" if log_odds >= UNSURE_FROM else "ham"


class TestFusion:
    def test_with_no_corrections_the_model_says_it_all(self) -> None:
        for said in (-13.8, -1 / 3, 0.0, 7.7, 13.8):
            assert fuse(said, Memory().recollect(letter(words(1)))) == said

    @given(st.floats(-14, 14), st.floats(0, 1.5), st.floats(-60, 60))
    def test_stays_in_bounds_and_grows_with_the_shift(
        self, model: float, weight: float, shift: float
    ) -> None:
        low, high = (fuse(model, Recollection(weight, shift + more)) for more in (0.0, 0.5))
        assert -CERTAIN <= low <= CERTAIN
        assert high > low or Recollection(weight, shift).silent or Recollection(weight, shift + 0.5).silent

    @pytest.mark.parametrize(
        ("model", "nats", "fused"),
        [(-9.0, 20.0, 7.0), (9.0, 20.0, 9.0), (9.0, -20.0, -3.0), (-9.0, -20.0, -9.0)],
    )
    def test_a_campaign_moves_a_copy_to_its_side_and_no_further(
        self, model: float, nats: float, fused: float
    ) -> None:
        assert fuse(model, Recollection(campaign=nats)) == fused

    def test_a_word_on_this_very_message_is_final(self) -> None:
        assert fuse(13.0, Recollection(word=-1, shift=50.0)) == -CERTAIN
        assert fuse(-13.0, Recollection(word=1)) == CERTAIN


class TestOwner:
    def test_this_message_and_its_campaign_at_once(self) -> None:
        memory, said = Memory(), words(1)
        memory.learn(letter(said), SPAM, "ann", -9.0)
        assert memory.recollect(letter(said), "ann").word == 1
        copy = letter(said + " 4711", to="you@example.org", n=2)
        assert memory.recollect(copy, "ann").word == 0
        assert fuse(-9.0, memory.recollect(copy, "ann")) >= SPAM_FROM

    def test_one_correction_says_nothing_of_other_mail_of_that_sender(self) -> None:
        memory = Memory()
        memory.learn(letter(words(1)), SPAM, "ann", -9.0)
        for seed in range(2, 40):
            assert abs(memory.recollect(letter(words(seed), n=seed), "ann").shift) < 0.02

    def test_agreement_strengthens_and_contradiction_weakens_a_campaign(self) -> None:
        memory, said = Memory(), words(1)
        shifts = []
        for n, told in enumerate([SPAM, SPAM, HAM, HAM]):
            memory.learn(letter(said, n=n), told, "ann", 0.0)
            shifts.append(memory.recollect(letter(said, n=99), "ann").campaign)
        assert shifts[1] > shifts[0] > shifts[2] > shifts[3]
        assert abs(shifts[3]) < 1.0

    def test_many_corrections_teach_what_spam_looks_like(self) -> None:
        memory, pitch = Memory(), words(500, 12)
        for n in range(int(4 * RAMP)):
            spam = n % 2 == 0
            body = words(n, 20) + (" " + pitch if spam else "")
            memory.learn(letter(body, n=n), SPAM if spam else HAM, "ann", -4.0 if spam else 3.0)
        fresh = memory.recollect(letter(words(900, 20) + " " + pitch, n=900), "ann")
        other = memory.recollect(letter(words(901, 20), n=901), "ann")
        assert fresh.shift > 2.0 > other.shift

    def test_corrections_of_one_label_alone_say_little_of_other_mail(self) -> None:
        one, both, common = Memory(), Memory(), words(500, 30)
        for n in range(30):
            body = f"{words(n, 8)} {common}"
            one.learn(letter(body, n=n), SPAM, "ann", -4.0)
            both.learn(letter(body, n=n), SPAM, "ann", -4.0)
            both.learn(letter(words(300 + n), n=n), HAM, "ann", -4.0)
        fresh = letter(f"{words(900, 40)} {common}", n=900)
        assert one.recollect(fresh, "ann").shift < 0.25 * both.recollect(fresh, "ann").shift

    def test_a_model_that_keeps_being_wrong_loses_its_say(self) -> None:
        memory = Memory()
        for n in range(100):
            memory.learn(letter(words(n), n=n), SPAM if n % 2 else HAM, "ann", -8.0 if n % 2 else 8.0)
        assert memory.recollect(letter(words(500), n=500), "ann").weight < 0.5

    def test_a_slip_moves_what_one_taught_oneself_little(self) -> None:
        memory, pitch = Memory(), words(500, 30)
        for n in range(60):
            memory.learn(letter(f"{words(n, 8)} {pitch}", n=n), SPAM, "ann", 0.0)
            memory.learn(letter(words(300 + n), n=n), HAM, "ann", 0.0)
        fresh = letter(f"{words(900, 8)} {pitch}", n=900)
        before = memory.recollect(fresh, "ann").shift
        memory.learn(letter(f"{words(901, 8)} {pitch}", n=901), HAM, "ann", 0.0)
        assert 0.6 * before < memory.recollect(fresh, "ann").shift < before

    def test_what_all_corrected_mail_shares_says_nothing(self) -> None:
        memory, footer = Memory(), words(500, 30)
        for n in range(60):
            memory.learn(letter(f"{words(n, 20)} {footer}", n=n), SPAM, "ann", -2.0)
        assert abs(memory.recollect(letter(f"{words(900, 20)} {footer}", n=900), "ann").shift) < 1.0

    def test_taking_back_leaves_nothing(self) -> None:
        memory = Memory()
        memory.learn(letter(words(1)), SPAM, "ann", -9.0)
        assert memory.forget(letter(words(1)), "ann")
        assert not memory.forget(letter(words(1)), "ann")
        assert len(memory) == len(memory.owners) == 0
        assert not memory.panel.tables.any()
        assert memory.recollect(letter(words(1), n=2), "ann").silent

    def test_taking_one_back_of_many_undoes_its_own_step(self) -> None:
        kept, both = Memory(), Memory()
        for n in range(30):
            for memory in (kept, both):
                memory.learn(letter(words(n), n=n), SPAM if n % 2 else HAM, "ann", 0.0)
        before = kept.recollect(letter(words(7), n=77), "ann").shift
        both.learn(letter(words(99), n=99), SPAM, "ann", -5.0)
        both.forget(letter(words(99), n=99), "ann")
        assert both.recollect(letter(words(7), n=77), "ann").shift == pytest.approx(before, abs=0.05)

    def test_another_label_takes_the_first_ones_place(self) -> None:
        memory = Memory()
        memory.learn(letter(words(1)), SPAM, "ann", -5.0)
        memory.learn(letter(words(1)), HAM, "ann", -5.0)
        assert len(memory) == 1
        assert memory.recollect(letter(words(1)), "ann").word == -1
        assert memory.recollect(letter(words(1), n=2), "ann").campaign < 0


class TestScopes:
    def test_a_site_with_one_owner_is_that_owner(self) -> None:
        memory = Memory()
        memory.learn(letter(words(1)), SPAM, "ann", -9.0)
        for who in ("ann", "bob", None):
            assert memory.recollect(letter(words(1)), who).word == 1

    def test_one_of_several_has_no_say_in_what_others_get(self) -> None:
        memory = Memory()
        for n in range(60):
            memory.learn(letter(words(n), n=n), SPAM, "mallory", -9.0)
        for number, who in enumerate(("ann", "bob", "carl")):
            memory.learn(letter(words(1000 + number)), HAM, who, -2.0)
        for n in range(0, 60, 3):
            for asker in ("ann", "dora", None):
                assert abs(memory.recollect(letter(words(n), n=n), asker).shift) < 0.02
                assert memory.recollect(letter(words(n), n=n), asker).word == 0

    def test_what_several_agree_on_counts_for_all(self) -> None:
        memory, said, shifts = Memory(), words(1), []
        for n in range(6):
            memory.learn(letter(words(100 + n)), HAM, f"user{n}", -2.0)
        for n in range(5):
            memory.learn(letter(said, n=n), SPAM, f"user{n}", -9.0)
            shifts.append(memory.recollect(letter(said, n=99), "dora").campaign)
        assert shifts[0] < 0.02
        assert shifts[0] < shifts[1] < shifts[2]
        assert shifts[4] > 10.0

    def test_one_who_says_much_turns_nobody_elses_mail(self) -> None:
        memory, honest = Memory(), 10
        for n in range(60):
            memory.learn(letter(words(n), n=n), HAM, f"user{n % honest}", -4.0)
        pitch = words(500, 12)  # what the mail that he calls spam has in common with others' ham
        for n in range(120):
            memory.learn(letter(f"{words(1000 + n, 20)} {pitch}", n=n), SPAM, "mallory", -4.0)
        for n in range(20):
            found = memory.recollect(letter(f"{words(2000 + n, 20)} {pitch}", n=n), "ann")
            assert abs(found.shift) < 0.02

    @pytest.mark.parametrize(("agreeing", "turns"), [(10, False), (16, True)])
    def test_a_fifth_who_collude_have_no_say_a_third_that_agree_has(self, agreeing: int, turns: bool) -> None:
        memory, pitch = Memory(), words(500, 30)
        for who in range(50):
            memory.learn(letter(words(who), n=who), HAM, f"user{who}", -4.0)
        for n in range(3 * agreeing):
            body = f"{words(1000 + n, 8)} {pitch}"
            memory.learn(letter(body, n=n), SPAM, f"user{n % agreeing}", -4.0)
        found = memory.recollect(letter(f"{words(5000, 8)} {pitch}", n=5000), "ann")
        assert (found.shift > 5.0) == turns
        assert turns or abs(found.shift) < 0.02

    def test_the_sites_own_word_is_everybodys(self) -> None:
        memory = Memory()
        memory.learn(letter(words(1)), HAM, "ann", 3.0)
        memory.learn(letter(words(2)), SPAM, SITE, -9.0)
        assert memory.recollect(letter(words(2)), "bob").word == 1
        assert memory.recollect(letter(words(1)), "bob").word == 0

    def test_nobody_takes_back_anothers(self) -> None:
        memory = Memory()
        memory.learn(letter(words(1)), SPAM, "ann", -9.0)
        assert not memory.forget(letter(words(1)), "bob")
        assert memory.recollect(letter(words(1)), "ann").word == 1

    def test_who_is_contradicted_by_all_is_named(self) -> None:
        memory = Memory()
        for n in range(12):
            for who in range(4):
                memory.learn(letter(words(n), n=10 * n + who), HAM, f"user{who}", 4.0)
            memory.learn(letter(words(n), n=10 * n + 9), SPAM, "mallory", 4.0)
        assert memory.doubtful() == ["mallory"]
        assert len(memory.panel) == 4, "he is not heard"


class TestBounds:
    def test_tables_of_who_is_not_asked_go_and_come_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("filterd.scoring.memory.MAX_TABLES", 3 * 65_536)
        memory = Memory()
        for n in range(6):
            memory.learn(letter(words(n), n=n), SPAM, f"user{n}", -5.0)
        assert memory.dormant("user0") == ["user0"]
        assert not memory.dormant("user5")
        memory.awake("user0", [(letter(words(0), n=0), SPAM, -5.0)])
        assert not memory.dormant("user0")
        assert sum(who.table is not None for who in memory.owners.values()) == 3

    def test_who_learns_without_a_table_is_put_right_when_he_awakes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = [(letter(words(n % 3), n=n), SPAM, -5.0) for n in range(6)]
        whole, memory = Memory(), Memory()
        for one in (whole, memory):
            one.learn(letter(words(90), n=90), HAM, "bob", 5.0)  # so that ann is not all there is
            for traits_, told, model in known[:4]:
                one.learn(traits_, told, "ann", model)
        with monkeypatch.context() as patch:
            patch.setattr("filterd.scoring.memory.MAX_TABLES", 0)
            memory.learn(letter(words(91), n=91), HAM, "bob", 5.0)
        whole.learn(letter(words(91), n=91), HAM, "bob", 5.0)
        assert memory.dormant("ann") == ["ann"]
        for one in (whole, memory):
            for traits_, told, model in known[4:]:
                one.learn(traits_, told, "ann", model)
        assert memory.guessed == {"ann"} and memory.words != whole.words
        memory.awake("ann", known)
        assert not memory.guessed and memory.words == whole.words
        assert memory.owners["ann"].model == whole.owners["ann"].model
        np.testing.assert_array_equal(memory.owners["ann"].table, whole.owners["ann"].table)
        np.testing.assert_allclose(memory.panel.tables, whole.panel.tables, atol=1e-4)
        for one in (whole, memory):
            one.forget(known[4][0], "ann")
        np.testing.assert_array_equal(memory.owners["ann"].table, whole.owners["ann"].table)

    def test_empty_traits_are_known_by_their_hash_alone(self) -> None:
        memory = Memory()
        empty = traits(b"")
        memory.learn(empty, SPAM, "ann", 0.0)
        assert memory.recollect(empty, "ann").word == 1
        assert memory.recollect(letter(words(1)), "ann").shift == 0.0

    def test_numbers_stay_finite(self) -> None:
        memory = Memory()
        for n in range(300):
            memory.learn(letter(words(1), n=n), SPAM if n % 2 else HAM, "ann", 13.8 if n % 3 else -13.8)
        found = memory.recollect(letter(words(1), n=999), "ann")
        assert math.isfinite(found.shift)
        assert np.isfinite(memory.panel.tables).all()


class TestSaved:
    def learned(self) -> Memory:
        memory = Memory()
        for n in range(30):
            memory.learn(letter(words(n), n=n), SPAM if n % 2 else HAM, f"user{n % 3}", 1.0)
        memory.revision = 30
        return memory

    def test_says_the_same_after_a_restart(self, tmp_path: Path) -> None:
        memory = self.learned()
        save(memory).write(tmp_path / "m" / "memory.bin")
        again = load(tmp_path / "m" / "memory.bin")
        assert (again.revision, len(again), list(again.owners)) == (30, 30, list(memory.owners))
        for n in range(40):
            for who in ("user1", "nobody", None):
                one, other = (m.recollect(letter(words(n), n=n % 35), who) for m in (memory, again))
                assert one == other
        again.learn(letter(words(77)), SPAM, "user0", 0.0)
        assert (tmp_path / "m" / "memory.bin").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("at", [0, 40, 2_000, -1])
    def test_damage_is_noticed(self, tmp_path: Path, at: int) -> None:
        file = tmp_path / "memory.bin"
        save(self.learned()).write(file)
        data = bytearray(file.read_bytes())
        data[at] ^= 0x55
        file.write_bytes(data)
        with pytest.raises(StoreError, match="rebuild the memory"):
            load(file)

    @pytest.mark.parametrize("cut", [0, 10, 3_000])
    def test_a_part_of_it_is_none(self, tmp_path: Path, cut: int) -> None:
        file = tmp_path / "memory.bin"
        save(self.learned()).write(file)
        file.write_bytes(file.read_bytes()[:cut])
        with pytest.raises(StoreError, match="rebuild the memory"):
            load(file)

    def test_missing_or_not_writable(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="rebuild the memory"):
            load(tmp_path / "none")
        (tmp_path / "file").touch()
        with pytest.raises(StoreError, match="rebuilt at the next start"):
            save(self.learned()).write(tmp_path / "file" / "memory.bin")
