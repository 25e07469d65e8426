"""CC3M: the official TSV of URLs, the authors' of image names, and the authors' published list."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_specs.annotations.cc3m import image_name
from data_specs.build import build_manifest
from data_specs.manifest import Item
from tests.data_specs.annotation_files import build, items, published, refused, table, write

TRAIN, VAL = "Train_GCC-training.tsv", "Validation_GCC-1.1.0-Validation.tsv"
AUTHORS_VAL = "meta_data/cc3m_validation_success_full.tsv"
CAPTIONS = ['" quotes open here', "plain", 'closed " there "', "漢字 🙂 ,", "same url"]
URLS = [
    "http://e.invalid/a.jpg?x=1&y=2",
    "https://e.invalid/ä.png",
    "http://e.invalid/3",
    "ftp://e",
    "http://e.invalid/3",
]


def official(rows: list[tuple[str, str]]) -> str:
    return "".join(f"{caption}\t{url}\n" for caption, url in rows)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """The authors' published validation list."""
    return list(build_manifest("cc3m", published("cc3m"), tmp_path_factory.mktemp("cc3m") / "m.parquet").manifest)


def test_the_name_of_an_image() -> None:
    """Of the first and the ninth image of the official validation file, as the authors' list has them."""
    first = "https://i.pinimg.com/736x/66/01/6c/66016c3ba27c0e04f39e2bd81a934e3e--anita-ekberg-bob-hope.jpg"
    ninth = "https://worldjourneysdiscover.files.wordpress.com/2014/07/kyoto-07.jpg?w=860&h=645"
    assert (image_name(0, first), image_name(8, ninth)) == ("0_1595581236", "8_1666482269")


def test_the_published_validation_list(rows: list[Item]) -> None:
    assert len(rows) == len({item.id for item in rows}) == 12_741
    numbers = [int(item.id.split("_")[0]) for item in rows]
    assert numbers == sorted(numbers) and (numbers[0], numbers[-1]) == (0, 15_839)
    assert {"0_1595581236", "8_1666482269"} <= {item.id for item in rows}
    for item in rows:
        assert (item.split, item.media, item.path) == ("val", "image", f"validation/{item.id}")
        assert len(item.captions) == 1 and item.captions[0].strip() and "\r" not in item.captions[0]
    assert rows[0].captions[0].startswith("author : a life")  # the release loses this row


def test_official_files(tmp_path: Path) -> None:
    train = list(zip(CAPTIONS, URLS, strict=True))
    write(tmp_path / TRAIN, official(train))
    write(tmp_path / VAL, official(train[1:2]).encode().replace(b"\n", b"\r\n"))
    found = [(item.path, item.id, item.media, item.captions) for item in items("cc3m", tmp_path)]
    names = [image_name(row, url) for row, url in enumerate(URLS)]
    assert found[:-1] == [
        (f"training/{name}", name, "image", (said,)) for name, said in zip(names, CAPTIONS, strict=True)
    ]
    assert found[-1][1:] == (image_name(0, URLS[1]), "image", (CAPTIONS[1],))
    assert found[-1][0] == f"validation/{image_name(0, URLS[1])}"


def test_the_official_file_wins(tmp_path: Path) -> None:
    write(tmp_path / VAL, official([("a", URLS[0]), ("b", URLS[1])]))
    write(tmp_path / AUTHORS_VAL, table([("only this", image_name(1, URLS[1]))]))
    built = build("cc3m", tmp_path)
    assert built.manifest.counts() == {"val": 2} and built.forms == {"val": "official"}
    (tmp_path / VAL).unlink()
    built = build("cc3m", tmp_path)
    assert built.forms == {"val": "authors'"} and built.absent == ("train",)
    assert [(item.id, item.captions) for item in built.manifest] == [(image_name(1, URLS[1]), ("only this",))]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (VAL, b"a\thttp://e\nb\n", "row 2: not 2 values, but 1"),
        (VAL, b"a\thttp://e\nb\tnot a url\n", "row 2: url: expected a URL, found 'not a url'"),
        (VAL, b" \thttp://e\n", "row 1: caption: expected a caption"),
        (AUTHORS_VAL, b"a\t0_1\r\nb\t0_1\r\n", "row 2: image: '0_1' already stands in row 1"),
        (AUTHORS_VAL, b"a\tNaN\r\n", "row 1: image: expected an id, found 'NaN'"),
        (AUTHORS_VAL, b"a\t../0_1\r\n", "row 1: 'validation/../0_1' is not a path below"),
        (AUTHORS_VAL, b'"a\t0_1\r\n', "row 1: not TSV"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = write(tmp_path / name, content)
    assert f"{path}: {said}" in refused("cc3m", tmp_path)
