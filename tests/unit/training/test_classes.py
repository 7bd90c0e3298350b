import pytest

from app.errors import RequestError
from app.training.evaluate import match_classes


@pytest.mark.parametrize(
    ("of_weights", "of_dataset", "same"),
    [
        (["illustration"], ["illustration"], {0: 0}),
        (["ornament", "illustration"], ["illustration", "ornament"], {0: 1, 1: 0}),
        (["Illustration "], ["ILLUSTRATION"], {0: 0}),
        (["sch\u00e9ma", "sche\u0301ma"], ["schema", "sch\u00e9ma"], {0: 1, 1: 1}),  # macOS decomposes accents
        (["illustration", "ornament", "initial"], ["ornament"], {1: 0}),
        (["illustration"], ["ornament", "illustration"], {0: 1}),
        (["figure"], ["illustration"], {0: 0}),
        (["illustration", "Illustration"], ["illustration"], {0: 0, 1: 0}),
    ],
)
def test_classes_match_by_name_or_if_there_is_only_one(
    of_weights: list[str], of_dataset: list[str], same: dict[int, int]
) -> None:
    assert match_classes(dict(enumerate(of_weights)), of_dataset) == same


@pytest.mark.parametrize("of_dataset", [["illustration"], ["illustration", "ornament"]])
def test_weights_without_a_shared_class_are_rejected(of_dataset: list[str]) -> None:
    of_weights = {number: f"thing {number}" for number in range(80)}
    with pytest.raises(RequestError) as raised:
        match_classes(of_weights, of_dataset)
    assert "thing 0, thing 1" in raised.value.message
    assert "60 more" in raised.value.message
    assert ", ".join(of_dataset) in raised.value.message
