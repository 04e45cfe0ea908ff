"""The table of ASVS 5.0 names each requirement once, and only tests and code that exist."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest

# How many requirements each section of ASVS 5.0.0 has.
SECTIONS = {
    1: (2, 10, 12, 3, 3),
    2: (3, 3, 5, 2),
    3: (1, 3, 5, 8, 8, 1, 5),
    4: (5, 5, 2, 4),
    5: (1, 6, 3, 3),
    6: (3, 12, 8, 6, 8, 4, 2, 4),
    7: (3, 4, 2, 5, 3, 2),
    8: (4, 4, 3, 2),
    9: (3, 4),
    10: (2, 3, 5, 16, 5, 2, 3),
    11: (4, 5, 5, 4, 2, 2, 2),
    12: (5, 2, 5),
    13: (4, 6, 4, 7),
    14: (2, 8, 3),
    15: (5, 5, 7, 4),
    16: (1, 5, 4, 3, 4),
}
ALL = [
    (chapter, section, number)
    for chapter, sections in SECTIONS.items()
    for section, count in enumerate(sections, 1)
    for number in range(1, count + 1)
]
NUMBERS = re.compile(r"(\d+\.\d+\.\d+)(?: to (\d+\.\d+\.\d+))?")
STATES = {"met", "partly", "no", "n/a"}
FOLDERS = {
    "": ["services/auth/tests"],
    "kit/": ["libs/servicekit/tests"],
    "gateway/": ["libs/starter-cli/tests/gateway"],
}
OWN = re.compile(r"(billing-webhook|chat-agent|conversation|notification)'s `(test_\w+)`")


def numbered(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


@pytest.fixture(scope="module")
def page(pytestconfig: pytest.Config) -> str:
    return (pytestconfig.rootpath / "docs" / "reference" / "asvs.md").read_text()


def rows(page: str) -> Iterator[list[str]]:
    """Return the cells of every row that begins with a requirement."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if NUMBERS.match(cells[0]):
            yield cells


def named(cell: str) -> Iterator[tuple[int, ...]]:
    for first, last in NUMBERS.findall(cell):
        start, end = numbered(first), numbered(last or first)
        yield from [one for one in ALL if start <= one <= end] if last else [start]


def test_names_every_requirement_once(page: str) -> None:
    found = Counter(number for cells in rows(page) for number in named(cells[0]))
    assert sorted(set(ALL) - found.keys()) == []
    assert sorted(found.keys() - set(ALL)) == []
    assert [number for number, times in found.items() if times > 1] == []


def test_gives_each_a_state_and_whatever_is_met_a_holder(page: str) -> None:
    for cells in rows(page):
        assert len(cells) == 4, cells
        assert cells[2] in STATES, cells
        assert cells[3] or cells[2] in {"no", "n/a"}, cells


def test_names_only_tests_and_files_that_exist(page: str, pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath
    for service, test in OWN.findall(page):
        assert (root / "services" / service / "tests" / f"{test}.py").is_file(), (service, test)
    rest = OWN.sub("", page)
    for test in re.findall(r"each `(test_\w+)`", rest):
        assert len([*root.glob(f"services/*/tests/{test}.py")]) > 1, test
    rest = re.sub(r"each `test_\w+`", "", rest)
    for folder, test in re.findall(r"`(\w+/)?(test_\w+)`", rest):
        assert any((root / place / f"{test}.py").is_file() for place in FOLDERS[folder]), (folder, test)
    for path in re.findall(r"`((?:auth|servicekit|deploy|k8s|libs)/[\w./-]+)`", rest):
        places = [root / path, root / "services/auth" / path, root / "libs/servicekit" / path]
        assert any(place.exists() for place in places), path


def test_no_line_is_too_long_to_read(page: str) -> None:
    assert [line for line in page.splitlines() if len(line) > 200] == []
