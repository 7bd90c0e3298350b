"""Embeddings on disk: complete or absent, even if two workers compute the same array."""

from pathlib import Path

import numpy as np
import pytest

from app.pipelines.similarity.embedding_store import EmbeddingStore, build_content

DIGESTS = [f"{number:064x}" for number in range(5)]
ROWS = np.arange(20, dtype=np.float16).reshape(5, 4) + 1
CONTENT = build_content(DIGESTS)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path, "weights")


def write_rows(store: EmbeddingStore, stop: int = 5) -> None:
    """Write rows up to an index; with the last row, the array is complete."""
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        draft.write(draft.done, [ROWS[draft.done : stop]])
        draft.flush(stop)
        if stop == 5:
            draft.finish()


def test_an_array_is_available_only_when_complete(store: EmbeddingStore) -> None:
    write_rows(store, 3)
    assert store.find_missing(CONTENT, ["none"]) == ["none"]
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        assert draft.done == 3
    write_rows(store)
    assert store.find_missing(CONTENT, ["none", "hflip"]) == ["hflip"]
    (array,) = store.open(CONTENT, ["none"])
    assert (array == ROWS).all()
    assert isinstance(array, np.memmap)


def test_rows_without_recorded_progress_are_ignored(store: EmbeddingStore) -> None:
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        draft.write(0, [ROWS[:2]])
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        assert draft.done == 0


def test_a_draft_does_not_overwrite_a_completed_array(store: EmbeddingStore) -> None:
    """Another worker completes the array between the check for it and the start of a new draft."""
    write_rows(store)
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        assert draft.done == 0
        (array,) = store.open(CONTENT, ["none"])
        assert (array == ROWS).all()
        assert len(store.find_rows(DIGESTS, ["none"])) == 5


def test_two_workers_may_compute_the_same_array(store: EmbeddingStore) -> None:
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as slow:
        slow.write(0, [ROWS[:2]])
        slow.flush(2)
        write_rows(store)
        slow.write(2, [ROWS[2:]])
        slow.flush(5)
        slow.finish()
    (array,) = store.open(CONTENT, ["none"])
    assert (array == ROWS).all()


def test_rows_of_complete_and_incomplete_documents_are_found(store: EmbeddingStore) -> None:
    write_rows(store, 3)
    found = store.find_rows([*DIGESTS, "f" * 64], ["none"])
    assert list(found) == DIGESTS[:3]
    assert (found[DIGESTS[2]][0] == ROWS[2]).all()
    assert store.find_rows(DIGESTS, ["none", "hflip"]) == {}
    assert EmbeddingStore(store.folder(CONTENT).parent.parent, "other weights").find_rows(DIGESTS, ["none"]) == {}


@pytest.mark.parametrize("left", [b"", b"\0" * 100])
def test_a_file_that_a_full_disk_left_without_its_header_is_completed(store: EmbeddingStore, left: bytes) -> None:
    store.folder(CONTENT).mkdir(parents=True)
    (store.folder(CONTENT) / "none.part").write_bytes(left)
    write_rows(store)
    (array,) = store.open(CONTENT, ["none"])
    assert (array == ROWS).all()
