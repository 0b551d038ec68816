"""One spelling for every disguise, and real languages left alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterd.reading.unicode import cut, normalise

LIMIT = 2_000


def plain(text: str) -> str:
    return normalise(text, LIMIT)


@pytest.mark.parametrize(
    ("disguised", "shown"),
    [
        pytest.param("fr\u200bee \u2067cash\u2069", "free cash", id="zero-width-and-bidi"),
        pytest.param("\u202eeerf\u202c \u202dcash\u202c", "free cash", id="displayed-backwards"),
        pytest.param("win\u00adner\ufeff now\u2060", "winner now", id="soft-hyphen-bom-joiner"),
        pytest.param("pay\U000e0041\U000e0042pal\ufe0f", "paypal", id="tag-characters"),
        pytest.param("a\x00b\x07c", "abc", id="controls"),
        pytest.param("𝓕𝓡𝓔𝓔 ＭＯＮＥＹ ⓝⓞⓦ", "FREE MONEY now", id="styled-alphabets"),
        pytest.param("🅵🆁🅴🅴 ғᴏʀ ʏᴏᴜ", "FREE for you", id="squared-and-small-capitals"),
        pytest.param("v̶i̶a̶g̶r̶a̶", "viagra", id="struck-through"),
        pytest.param("z" + "\u0301\u0327" * 500 + "ap", "zap", id="stacked-marks"),
        pytest.param("vïàgrá ŵițh ñø pręșçrîpțioń", "viagra with no prescription", id="accents"),
        pytest.param(
            "Straße, Œuvre, ISTANBUL'dan ılık", "Strasse, OEuvre, ISTANBUL'dan ilik", id="ligatures"
        ),
        pytest.param("f★r★e★e c,a,s,h", "free cash", id="any-one-separator"),
        pytest.param("vi*agra, chea~p, lo·an", "viagra, cheap, loan", id="signs-inside-words"),
        pytest.param(
            "c4sh n0w, v1agra, B00KING, vi@gr@", "cash now, viagra, BOOKING, viagra", id="leetspeak"
        ),
        pytest.param("Cheap vіаgrа and саsh", "Cheap viagra and cash", id="cyrillic-mixed-in"),
        pytest.param("your раураl account is locked", "your paypal account is locked", id="paypal"),
        pytest.param("Claim yοur ρrize", "Claim your prize", id="greek-mixed-in"),
        pytest.param("Buy at our ѕоре store today", "Buy at our sope store today", id="whole-word-of-twins"),
        pytest.param("сlaіm ɡҽτ поw", "claim get now", id="scripts-mixed-among-each-other"),
        pytest.param("a ꓐꓲꓖ win for you", "a BIG win for you", id="lisu"),
        pytest.param("F R E E  v i a g r a", "FREE viagra", id="spaced-out"),
        pytest.param("w.i.n.n.e.r call", "winner call", id="dotted"),
        pytest.param("v-1-a-g-r-a!", "viagra!", id="dashed-leet"),
        pytest.param("“quoted” – it’s…", '"quoted" - it\'s...', id="typography"),
        pytest.param("a \t b\u00a0\u3000c\r\n\r\n\r\nd  ", "a b c\nd", id="white-space"),
        pytest.param("soooooooo!!!!!!!!!! -----------", "soooo!!!! ----", id="runs"),
        pytest.param("😀😀😀😀😀😀😀 ok", "😀😀😀 ok", id="emoji-runs"),
        pytest.param("win 🎉🎉 a 🎁🎁 big 🔥 prize", "win 🎉🎉 a 🎁 big prize", id="many-emoji"),
        pytest.param("f🎉r🎉e🎉e c🎉a🎉s🎉h", "free cash", id="emoji-between-letters"),
        pytest.param("https://example.com/a/b?id=92834719283741987", "http://example.com/a/b", id="query"),
        pytest.param(
            "see www.example.com/" + "x1" * 60, "see www.example.com/" + "x1" * 11 + "x", id="long-path"
        ),
        pytest.param(
            "http://" + "ab" * 40 + ".example.com/", "http://" + "ab" * 18 + ".example.com/", id="long-host"
        ),
        pytest.param("id " + "A9b8" * 30 + " end", "id " + "A9b8" * 6 + " end", id="opaque"),
    ],
)
def test_disguises(disguised: str, shown: str) -> None:
    assert plain(disguised) == shown


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Привет! Как дела? Сегодня о погоде: а он сказал нет.", id="russian"),
        pytest.param("Наш USB-кабель и SMSка от Microsoft, цена 100 руб.", id="russian-with-latin"),
        pytest.param("Καλημέρα, πώς είσαι; Ο Νίκος είναι εδώ.", id="greek"),
        pytest.param("Բարեւ ձեզ, ինչպես եք", id="armenian"),
        pytest.param("The Russian word мост means bridge", id="one-foreign-word"),
        pytest.param("您好，明天开会", id="chinese"),
        pytest.param("ok 😀 c u @ 8, txt me 2nite!! £5 50% off", id="sms"),
        pytest.param("see you ❤ 👍🏽", id="few-emoji-stay"),
        pytest.param("My iPhone and McIntosh from eBay, via PayPal", id="names-with-capitals-stay"),
        pytest.param("b4u gr8 l8r 2nite just4u mp3 2x4 h2o", id="digits-that-are-words-stay"),
        pytest.param(
            "bob@localhost, W45WQ, aB3dE9, 150ppm, a10b, see a.b1c.org/x1y", id="codes-and-addresses-stay"
        ),
        pytest.param("well-known e-mail, don't, a/b, x_y", id="ordinary-signs-stay"),
        pytest.param("I am 1 2 3 4 5 years", id="numbers-stay"),
        pytest.param("call 08001234567 or 1000000000000", id="digits-stay"),
        pytest.param("a b c then d", id="three-letters-stay"),
        pytest.param(
            "this_is_a_very_long_identifier_without_any_blank_in_it_at_all", id="words-run-together-stay"
        ),
    ],
)
def test_what_is_no_disguise_stays(text: str) -> None:
    expected = text.replace("，", ",")  # NFKC
    assert plain(text) == expected


AWKWARD = st.text(
    alphabet=st.one_of(
        st.sampled_from(
            "aAbвсоЖμο \n\t\r.-_*!/:?#=%@1$ht pw`´ʼ′″"
            "\u200b\u0301\u0336\u3164\u1160\uffa0\ufdfa…ＡIV\U0001f171"
        ),
        st.characters(),
    ),
    max_size=80,
)
PIECES = st.lists(
    st.one_of(
        AWKWARD,
        st.sampled_from(
            ["http://", "https://", "www.", "a.b/", "x" * 30, "9aF" * 20, "a b c d", "-----", "вiа", "\n\n"]
        ),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(PIECES)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = plain(text)
    assert plain(once) == once


@given(PIECES, st.integers(20, 60))
def test_length_is_bounded(text: str, limit: int) -> None:
    assert len(normalise(text, limit)) <= limit


@given(PIECES)
def test_nothing_invisible_is_left(text: str) -> None:
    assert not set("\u200b\u200d\u202e\u3164\ufeff\x00\x07") & set(plain(text))


def test_cut_keeps_head_and_tail() -> None:
    shortened = cut("head " + "x" * 500 + " tail", 100)
    assert len(shortened) <= 100
    assert shortened.startswith("head ")
    assert shortened.endswith(" tail")
