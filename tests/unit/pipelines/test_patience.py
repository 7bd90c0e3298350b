from app.errors import FetchError
from app.pipelines.image_cache import Patience

BUSY = FetchError("It answered 429. Tried 5 times.", 429, temporary=True)
GONE = FetchError("It answered 404.", 404)


def test_patience_is_lost_after_some_images_in_a_row_and_says_why() -> None:
    patience = Patience(3)
    for _ in range(2):
        patience.note(BUSY)
    assert patience.lost == ""
    patience.note(BUSY)
    assert patience.lost.startswith("Not asked for, after 3 images in a row")
    assert "answered 429" in patience.lost


def test_an_answer_of_any_kind_gives_it_back() -> None:
    patience = Patience(2)
    for answer in (None, GONE):
        patience.note(BUSY)
        patience.note(answer)
    patience.note(BUSY)
    assert patience.lost == ""
