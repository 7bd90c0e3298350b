"""Embeddings on disk: whole or not there, also when two make the same, or one that was made comes in between."""

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


def make(store: EmbeddingStore, stop: int = 5) -> None:
    """Write rows up to a number; all of them are a document's embeddings."""
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        draft.write(draft.done, [ROWS[draft.done : stop]])
        draft.flush(stop)
        if stop == 5:
            draft.finish()


def test_an_array_is_there_when_it_is_whole(store: EmbeddingStore) -> None:
    make(store, 3)
    assert store.find_missing(CONTENT, ["none"]) == ["none"]
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        assert draft.done == 3
    make(store)
    assert store.find_missing(CONTENT, ["none", "hflip"]) == ["hflip"]
    (array,) = store.open(CONTENT, ["none"])
    assert (array == ROWS).all()
    assert isinstance(array, np.memmap)


def test_rows_that_were_not_noted_are_not_believed(store: EmbeddingStore) -> None:
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        draft.write(0, [ROWS[:2]])
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        assert draft.done == 0


def test_what_was_made_meanwhile_is_not_overwritten_with_nothing(store: EmbeddingStore) -> None:
    """Another worker makes the array between the look for it and the beginning of a new one."""
    make(store)
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as draft:
        assert draft.done == 0
        (array,) = store.open(CONTENT, ["none"])
        assert (array == ROWS).all()
        assert len(store.find_rows(DIGESTS, ["none"])) == 5


def test_two_that_make_the_same_do_each_other_no_harm(store: EmbeddingStore) -> None:
    with store.draft(CONTENT, DIGESTS, ["none"], 4) as slow:
        slow.write(0, [ROWS[:2]])
        slow.flush(2)
        make(store)
        slow.write(2, [ROWS[2:]])
        slow.flush(5)
        slow.finish()
    (array,) = store.open(CONTENT, ["none"])
    assert (array == ROWS).all()


def test_rows_of_other_documents_are_found_also_of_one_in_the_making(store: EmbeddingStore) -> None:
    make(store, 3)
    found = store.find_rows([*DIGESTS, "f" * 64], ["none"])
    assert list(found) == DIGESTS[:3]
    assert (found[DIGESTS[2]][0] == ROWS[2]).all()
    assert store.find_rows(DIGESTS, ["none", "hflip"]) == {}
    assert EmbeddingStore(store.folder(CONTENT).parent.parent, "other weights").find_rows(DIGESTS, ["none"]) == {}
