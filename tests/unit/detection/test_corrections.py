"""The file of the corrections of a job."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.detection.corrections import CorrectedBox, Correction, load_corrections, remove_correction, save_correction
from app.storage import JobFolder


def correct(folder: JobFolder, number: int, left: int) -> None:
    save_correction(folder, number, Correction((CorrectedBox((left, 2, 3, 4), "a"),), "me", 1.0))


def read_lefts(folder: JobFolder) -> dict[int, int]:
    return {number: found.boxes[0].xywh[0] for number, found in load_corrections(folder).items()}


def test_a_page_that_is_corrected_often_does_not_make_the_file_long(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    for left in range(300):
        correct(folder, 1 + left % 3, left)
    assert remove_correction(folder, 2)
    assert read_lefts(folder) == {1: 297, 3: 299}
    assert len((folder.path / "corrections.jsonl").read_text().splitlines()) <= 100


def test_corrections_that_are_saved_at_the_same_time_are_kept(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")

    def correct_often(number: int) -> None:
        for left in range(60):
            correct(folder, number, left)
            assert number in load_corrections(folder)

    with ThreadPoolExecutor(8) as executor:
        [*executor.map(correct_often, range(1, 9))]
    assert read_lefts(folder) == dict.fromkeys(range(1, 9), 59)
    assert len((folder.path / "corrections.jsonl").read_text().splitlines()) < 480
