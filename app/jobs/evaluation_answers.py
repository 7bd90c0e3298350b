"""The metrics of detection weights, as the jobs that train or evaluate them show them."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]


class FailedImage(TypedDict):
    """An image or page that could not be processed."""

    image_name: str
    reason: Annotated[str, Field(description="Why the image failed.")]


class ClassFigures(TypedDict):
    """The metrics of one class, or of all classes. An undefined metric is null."""

    name: Annotated[str, Field(description="The name of the class, or all.")]
    illustrations: Annotated[Count, Field(description="The number of labelled boxes.")]
    found: Annotated[Count, Field(description="The number of detections.")]
    right: Annotated[Count, Field(description="The number of correct detections.")]
    precision: Annotated[float | None, Field(description="The share of detections that are correct.")]
    recall: Annotated[float | None, Field(description="The share of labelled boxes that were detected.")]
    ap50: Annotated[float | None, Field(description="The average precision at IoU 0.5.")]
    ap75: Annotated[float | None, Field(description="The average precision at IoU 0.75.")]
    ap50_95: Annotated[float | None, Field(description="The mean of the average precisions at IoU 0.5, 0.55 … 0.95.")]
    intervals: Annotated[
        dict[str, list[float]],
        Field(description="The 95 % interval of each metric by name; empty when there are too few pages."),
    ]


class Evaluation(TypedDict):
    """The metrics of weights on labelled pages."""

    pages: Annotated[Count, Field(description="The number of evaluated pages.")]
    empty_pages: Annotated[Count, Field(description="The number of evaluated pages without a labelled box.")]
    confidence: Annotated[
        float,
        Field(description="The least confidence of the detections that precision, recall and the counts include."),
    ]
    iou: Annotated[float, Field(description="The least overlap (IoU) of a correct detection with a labelled box.")]
    overall: ClassFigures
    classes: list[ClassFigures]
    best_confidence: Annotated[float | None, Field(description="The confidence with the highest F1.")]
    unreadable: Annotated[list[FailedImage], Field(description="Pages that could not be read.")]
    ignored_classes: Annotated[list[str], Field(description="Classes of the weights that are missing in the data set.")]
    missing_classes: Annotated[list[str], Field(description="Classes of the data set that are missing in the weights.")]
    drawn: Annotated[Count, Field(description="The number of pages with a comparison image.")]
    documents: Annotated[
        Count, Field(description="The number of documents that the intervals compare; 0 if they compare pages.")
    ]
    calibration_error: Annotated[
        float | None,
        Field(description="The mean difference between confidences and the share of correct detections."),
    ]
