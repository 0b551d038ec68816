"""Names of charsets as mail clients and browsers know them, and encoded words."""

import codecs

import pytest
from webencodings.labels import LABELS  # type: ignore[import-untyped]

from filterd.reading.charsets import charset_of_words, codec_of, decode, decode_words

UKRAINIAN = "Привіт, Олено! Ґанок."


def test_every_label_of_whatwg_is_known() -> None:
    """The Encoding Standard's own names: what a browser reads, we read (but for what it refuses)."""
    refused = {label for label, encoding in LABELS.items() if encoding == "replacement"}
    unknown = {label for label in set(LABELS) - refused if not codec_of(label.encode())}
    assert not unknown
    for label in set(LABELS) - refused:
        assert codecs.lookup(codec_of(label.encode()))


@pytest.mark.parametrize(
    "name", ["cp037", "ibm500", "cp273", "EBCDIC-CP-HE", "cp1026", "IBM1140", "cp875", "zlib", "idna"]
)
def test_what_no_client_knows(name: str) -> None:
    assert codec_of(name.encode()) == ""
    assert decode(b"plain words", charset=name.encode()) == "plain words"


@pytest.mark.parametrize(
    ("name", "codec", "said"),
    [
        ("koi8-u", "koi8_u", UKRAINIAN),
        ("x-cp1251", "cp1251", UKRAINIAN),
        ("x-mac-cyrillic", "mac_cyrillic", UKRAINIAN),
        ("x-mac-ukrainian", "mac_cyrillic", UKRAINIAN),
        ("ucs-2", "utf_16_be", UKRAINIAN),
        ("utf-16", "utf_16_le", UKRAINIAN + " abc"),
        ("HZ-GB-2312", "hz", "恭喜 ~ abc"),
        ("iso-2022-kr", "iso2022_kr", "안녕"),
        ("x-sjis", "cp932", "こんにちは①"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("x-x-big5", "big5hkscs", "香港"),
        ("dos-874", "cp874", "สวัสดี"),
    ],
)
def test_charsets(name: str, codec: str, said: str) -> None:
    assert decode(said.encode(codec), charset=name.encode()) == said


def test_nearby_charsets_count_where_none_is_declared() -> None:
    chinese = "恭喜您中奖了"
    assert decode(chinese.encode("gb2312"), charset=b"", nearby=b"gb2312") == chinese
    assert decode(chinese.encode(), charset=b"", nearby=b"gb2312") == chinese
    assert decode(b"caf\xe9", charset=b"iso-8859-1", nearby=b"gb2312") == "café"
    assert charset_of_words(b"x =?GB2312?B?yM7A1svJ?= =?utf-8?q?a?=") == b"GB2312"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"=?utf-8?B?SGVsbG8g\n d29ybGQ=?=", "Hello world"),
        (b"=?utf-8?Q?Hello\r\n\t_world?=", "Hello world"),
        (b"=?utf-8?B?R3LDvA==?=\n =?utf-8?B?w59l?=", "Gr\u00fc\u00dfe"),
        (b"=?utf-8?Q?a?b?=", "a?b"),
        ("Нарада".encode("cp1251"), "Нарада"),
        (b"=?koi8-u?B?7sHSwcTB?= " + "і".encode("cp1251"), "Нарада і"),
    ],
)
def test_headers(value: bytes, said: str) -> None:
    assert decode_words(value, b"windows-1251") == said
