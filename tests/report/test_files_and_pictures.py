"""Side-by-side frames, contact sheets, tables and files."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from keyframes_gan import report
from keyframes_gan.errors import MediaError


def _plain(height: int, width: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_side_by_side_places_pictures_and_makes_sides_even() -> None:
    left, right = _plain(61, 31, 10), _plain(61, 40, 200)
    joined = report.side_by_side([left, right])
    assert joined.shape == (62, 72, 3)
    assert joined.flags.c_contiguous
    assert (joined[:, :31] == 10).all()
    assert (joined[:, 31:] == 200).all()


def test_side_by_side_scales_to_the_tallest_and_leaves_gaps() -> None:
    joined = report.side_by_side([_plain(20, 10, 90), _plain(40, 30, 90)], gap_px=2)
    assert joined.shape == (40, 20 + 2 + 30, 3)
    assert (joined[:, 20:22] == 0).all()


def test_label_marks_only_the_top_left() -> None:
    picture = _plain(240, 320, 128)
    marked = report.label(picture, "restored")
    changed = np.argwhere((marked != picture).any(axis=2))
    assert len(changed)
    assert changed[:, 0].max() < 40
    assert changed[:, 1].max() < 320
    assert (marked.max(), picture.max()) == (255, 128)
    assert np.array_equal(report.label(picture, ""), picture)


@pytest.mark.parametrize("shape", [(16, 16), (64, 24), (2160, 3840)])
def test_label_fits_any_size(shape: tuple[int, int]) -> None:
    marked = report.label(_plain(*shape, 255), "a rather long label, with ümlauts")
    assert marked.shape == (*shape, 3)
    assert (marked != 255).any()


def test_wrong_number_of_labels() -> None:
    with pytest.raises(ValueError, match="label for each"):
        report.side_by_side([_plain(8, 8, 0)], ["a", "b"])
    with pytest.raises(ValueError, match="rows of 2"):
        report.contact_sheet([[_plain(8, 8, 0)]], ["a", "b"], "sheet.png")


def test_contact_sheet_is_a_readable_png(tmp_path: Path) -> None:
    rows = [[_plain(64, 64, 50), _plain(32, 32, 150)], [_plain(64, 64, 60), _plain(64, 48, 160)]]
    path = report.contact_sheet(rows, ["compressed", "restored"], tmp_path / "new" / "sheet.png", cell_height_px=128)
    sheet = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert sheet.shape[0] == 2 * 128 + 2
    assert (sheet[200, 20] == 60).all() or (sheet[200, 20] == 50).all()
    assert list(path.parent.iterdir()) == [path]


def test_png_keeps_the_channel_order(tmp_path: Path) -> None:
    picture = _plain(4, 4, 0)
    picture[..., 0] = 255
    path = report.write_png(picture, tmp_path / "red.png")
    assert (cv2.imread(str(path), cv2.IMREAD_COLOR) == (0, 0, 255)).all()


def test_table_shows_cells_total_and_direction() -> None:
    drawn = report.table(
        "Quality", ["video", report.heading("PSNR", "dB", higher_is_better=True)], [["a", "30.1"]], total=["total", "30.2"]
    )
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        report.print_table(drawn, console=console)
    text = captured.get()
    for word in ("Quality", "PSNR [dB]", "higher is better", "30.1", "total", "30.2"):
        assert word in text


def test_csv_and_json_are_standard(tmp_path: Path) -> None:
    path = report.write_csv(tmp_path / "m.csv", ["name", "psnr"], [["a, b", 1.5], ["c", None]])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "psnr"], ["a, b", "1.5"], ["c", ""]]
    data = {"inf": float("inf"), "nan": np.float64("nan"), "n": np.int64(3), "path": Path("x"), "list": [1.5, (2, None)]}
    stored = json.loads(report.write_json(tmp_path / "m.json", data).read_text())
    assert stored == {"inf": None, "nan": None, "n": 3, "path": "x", "list": [1.5, [2, None]]}


def test_unwritable_target_gets_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot"):
        report.write_json(tmp_path / "file" / "m.json", {})
    with pytest.raises(TypeError):
        report.write_json(tmp_path / "m.json", {"time": Fraction(1, 3)})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
