from pathlib import Path

import pytest

from filterd_trainer.evaluation.energy import EnergyMeter


def package(root: Path, name: str, joules: float, wraps: float = 100.0, domain: str = "package-0") -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{domain}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps * 1e6:.0f}\n")
    (folder / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")
    return folder


def test_all_packages_are_added_and_a_counter_may_begin_again(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 10)
    package(tmp_path, "intel-rapl:1", 99)
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of the first

    def work() -> None:
        package(tmp_path, "intel-rapl:0", 12.5)
        package(tmp_path, "intel-rapl:1", 1)
        package(tmp_path, "intel-rapl:0:0", 50)

    assert EnergyMeter.find(tmp_path).joules(work) == pytest.approx(2.5 + 2)


def test_the_whole_platform_is_not_added_to_its_packages(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 10)
    package(tmp_path, "intel-rapl:1", 20, domain="psys")

    def work() -> None:
        package(tmp_path, "intel-rapl:0", 12)
        package(tmp_path, "intel-rapl:1", 23, domain="psys")

    assert EnergyMeter.find(tmp_path).joules(work) == pytest.approx(2)


@pytest.mark.parametrize("content", [None, "no number"])
def test_where_nothing_can_be_read_there_is_no_figure(tmp_path: Path, content: str | None) -> None:
    if content:
        (package(tmp_path, "intel-rapl:0", 1) / "energy_uj").write_text(content)
    done: list[int] = []
    assert EnergyMeter.find(tmp_path).joules(lambda: done.append(1)) is None
    assert done == [1]


def test_a_counter_that_goes_away_gives_no_figure(tmp_path: Path) -> None:
    folder = package(tmp_path, "intel-rapl:0", 1)
    assert EnergyMeter.find(tmp_path).joules((folder / "energy_uj").unlink) is None
