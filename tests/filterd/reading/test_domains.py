"""The Public Suffix List as we read it is the one that its package reads."""

import pytest
from publicsuffixlist import PublicSuffixList

from filterd.reading import domains


@pytest.fixture(scope="module")
def peer() -> PublicSuffixList:
    return PublicSuffixList()


def test_its_rules_are_the_packages(peer: PublicSuffixList) -> None:
    ours = domains._suffixes()
    assert ours._publicsuffix == peer._publicsuffix
    assert ours._maxlabel == peer._maxlabel


@pytest.mark.parametrize(
    "host", ["a.b.example.co.uk", "www.ck", "x.y.ck", "a.食狮.公司.cn", "a.xn--85x722f.xn--55qx5d.cn"]
)
def test_an_organisation(host: str, peer: PublicSuffixList) -> None:
    assert domains.organisation(host) == (peer.privatesuffix(host) or host)
