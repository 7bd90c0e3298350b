import os
import time
from pathlib import Path

import pytest

from app.storage import JobFolder, Storage, build_key, write_atomic


def test_manifests_with_the_same_label_do_not_share_a_folder(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    assert storage.images("https://a.example/ms/1") != storage.images("https://a.example/ms1")


@pytest.mark.parametrize("text", ["../../etc/passwd", "a/b", "\0", "é\udcff", "x" * 10_000])
def test_a_key_is_a_plain_file_name(text: str) -> None:
    assert build_key(text).isalnum()
    assert len(build_key(text)) == 40


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "file", "not bytes")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def add_image(storage: Storage, url: str, name: str, days: float) -> Path:
    """Put an image with its record into the cache, last used some days ago."""
    path = storage.images(url) / f"{name}.image"
    write_atomic(path, b"pixels")
    write_atomic(path.with_suffix(".json"), b"{}")
    os.utime(path, (0, 0))  # fetched long ago; only the last use counts
    os.utime(path.with_suffix(".json"), (time.time() - days * 86400,) * 2)
    return path


def test_unused_images_are_removed_after_some_days(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    old, recent = add_image(storage, "a", "old", 8), add_image(storage, "a", "recent", 6)
    alone = add_image(storage, "b", "old", 8)
    assert storage.remove_old_images(7) == 2
    assert [old.exists(), old.with_suffix(".json").exists(), alone.parent.exists()] == [False, False, False]
    assert [recent.exists(), recent.with_suffix(".json").exists()] == [True, True]


def test_images_of_unfinished_jobs_are_kept_at_any_age(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    wanted = add_image(storage, "https://a.example/manifest", "old", 400)
    assert storage.remove_old_images(7, ["https://a.example/manifest"]) == 0
    assert wanted.exists()


def test_partial_files_of_a_killed_process_are_removed_later(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    folder = add_image(storage, "a", "recent", 0).parent
    for name, days in ((".part-old", 8), (".part-now", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - days * 86400,) * 2)
    storage.remove_old_images(7)
    assert sorted(path.name for path in folder.iterdir()) == [".part-now", "recent.image", "recent.json"]


def test_nothing_to_remove_is_no_error(tmp_path: Path) -> None:
    assert Storage(tmp_path).remove_old_images(7) == 0


def test_stale_trainings_lose_their_pages_and_checkpoints(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    for name, days in (("old", 9), ("wanted", 9), ("new", 1)):
        folder = storage.job(name)
        for path in (folder.dataset, folder.training, folder.results):
            path.mkdir(parents=True)
        os.utime(folder.path, (time.time() - days * 86400,) * 2)
    assert storage.remove_old_trainings(7, {"wanted"}) == 1
    assert storage.remove_old_trainings(7, {"wanted"}) == 0
    left = {path.relative_to(tmp_path / "jobs").as_posix() for path in tmp_path.glob("jobs/*/*")}
    assert left == {
        "old/results",
        *(f"{job}/{kind}" for job in ("wanted", "new") for kind in ("dataset", "training", "results")),
    }


def test_the_age_of_a_training_counts_from_its_last_checkpoint(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    folder = storage.job("long")
    folder.dataset.mkdir(parents=True)
    (folder.training / "weights").mkdir(parents=True)
    os.utime(folder.path, (time.time() - 9 * 86400,) * 2)
    assert storage.remove_old_trainings(7) == 0
    os.utime(folder.training / "weights", (time.time() - 8 * 86400,) * 2)
    assert storage.remove_old_trainings(7) == 1


def test_incomplete_copies_of_pages_are_removed(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    (tmp_path / ".part-x" / "dataset").mkdir(parents=True)
    folder.forget_training()
    assert list(tmp_path.iterdir()) == []


def test_incomplete_files_are_removed_unless_their_job_is_unfinished(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    parts = []
    for name, days in (("old", 9), ("unfinished", 9), ("new", 0)):
        parts.append(storage.job(name).path / ".part-a")
        parts.append(storage.job(name).document_folder(1).path / ".part-b")
        for path in parts[-2:]:
            write_atomic(path, b"half")
            os.utime(path, (time.time() - days * 86400,) * 2)
        os.utime(storage.job(name).path, (time.time() - days * 86400,) * 2)
    assert storage.remove_old_trainings(7, {"unfinished"}) == 1
    assert [path.exists() for path in parts] == [False, True, True, True, True, True]
    assert storage.remove_old_sources(7, {"unfinished"}) == 1
    assert [path.exists() for path in parts] == [False, False, True, True, True, True]


def test_an_interrupted_removal_leaves_no_incomplete_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    folder = storage.job("job")
    folder.dataset.mkdir(parents=True)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("app.storage.job_folder.shutil.rmtree", fail)
        with pytest.raises(KeyboardInterrupt):
            folder.forget_training()
    assert not folder.dataset.exists()
    os.utime(folder.path, (time.time() - 9 * 86400,) * 2)
    assert storage.remove_old_trainings(7) == 1
    assert list(folder.path.iterdir()) == []


def test_a_forgotten_content_takes_the_features_of_its_images_along(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    write_atomic(storage.embeddings / "content" / "images", b"aa1\naa2")
    paths = [storage.features / digest[:2] / f"{digest}-key.npz" for digest in ("aa1", "aa2", "aa3")]
    for path in paths:
        write_atomic(path, b"x")
    storage.forget_content("content")
    assert [path.exists() for path in paths] == [False, False, True]


def test_unused_features_are_removed(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    old, recent = (storage.features / "aa" / name for name in ("old.npz", "recent.npz"))
    for path, days in ((old, 8), (recent, 6)):
        write_atomic(path, b"x")
        os.utime(path, (time.time() - days * 86400,) * 2)
    storage.remove_old_comparisons(7)
    assert [old.exists(), recent.exists()] == [False, True]


def test_files_of_pages_are_removed_unless_their_job_is_unfinished(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    old, unfinished, new = (storage.job(name) for name in ("old", "unfinished", "new"))
    files = [old.source, old.document_folder(1).source, unfinished.source, new.source]
    for path in (*files, old.listing):
        write_atomic(path, b"x")
    for path in (*files[:3], old.listing):
        os.utime(path, (0, 0))
    assert storage.remove_old_sources(7, ["unfinished"]) == 2
    assert [path.exists() for path in files] == [False, False, True, True]
    assert old.listing.exists()


def test_a_forgotten_document_takes_its_pages_along(tmp_path: Path) -> None:
    folder = Storage(tmp_path).job("job")
    for number in (1, 2):
        write_atomic(folder.document_folder(number).source, b"x")
        write_atomic(folder.document(number, ".json"), b"{}")
    folder.forget_document(1)
    assert [path.name for path in sorted((folder.path / "documents").iterdir())] == ["0002.json", "0002.pages"]
