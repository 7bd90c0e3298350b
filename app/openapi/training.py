"""The records of data sets, trainings and tests, as JSON schemas."""

from app.jobs.requests.training import LONGEST_NAME, MOST_EPOCHS
from app.openapi.schemas import (
    COUNT,
    DELIVERY,
    END,
    JOB_ID,
    LABEL,
    NUMBER,
    OPTIONS,
    PROGRESS,
    TEXT,
    TIME,
    Schema,
    listing,
    maybe,
    record,
    refer,
)
from app.training.dataset_records import SPLITS

DATASET = record(
    name=TEXT,
    classes=listing(TEXT) | {"description": "The id of a class is its place, from 0."},
    splits={
        "type": "object",
        "propertyNames": {"enum": list(SPLITS)},
        "additionalProperties": record(images=COUNT, illustrations=COUNT, empty=COUNT),
    },
    changed=TIME,
)

_FIGURES = {name: maybe(NUMBER) for name in ("precision", "recall", "ap50", "ap50_95")}
FIGURES = record(name=TEXT, illustrations=COUNT, found=COUNT, right=COUNT, **_FIGURES)

EVALUATION = record(
    pages=COUNT,
    empty_pages=COUNT | {"description": "Those without a true box."},
    confidence=NUMBER,
    iou=NUMBER,
    overall=FIGURES,
    classes=listing(FIGURES),
    best_confidence=maybe(NUMBER) | {"description": "That of the highest F1."},
    unreadable=listing(record(image_name=TEXT, reason=TEXT)),
    ignored_classes=listing(TEXT) | {"description": "Of the weights, unknown to the data set."},
    missing_classes=listing(TEXT) | {"description": "Of the data set, unknown to the weights."},
)

TRAINING_OPTIONS: Schema = {
    "data": LABEL | {"description": "Name of a data set."},
    "epochs": {"type": "integer", "minimum": 1, "maximum": MOST_EPOCHS},
    "model": OPTIONS["model"] | {"description": "Weights to start from; else the default of this server."},
    "name": {"type": "string", "maxLength": LONGEST_NAME, "description": "Of the new weights."},
    "notify_url": OPTIONS["notify_url"],
}

TEST_OPTIONS: Schema = {
    "dataset": LABEL | {"description": "Name of a data set."},
    "model": OPTIONS["model"],
    "split": {"enum": ["", *SPLITS], "description": "Else test, or val where there is no test."},
    "save_dir": LABEL | {"description": "Passed through."},
    "notify_url": OPTIONS["notify_url"],
}

TRAINING_JOB = record(
    job_id=JOB_ID,
    kind={"const": "training"},
    **PROGRESS,
    data=TEXT,
    epochs=COUNT,
    model=maybe(TEXT),
    weights=maybe(TEXT | {"description": "File name of the new weights, once they are published."}),
    last_epoch=maybe({"type": "object", "description": "Losses, and what was found on the pages for val."}),
    figures=maybe({"type": "object", "additionalProperties": EVALUATION, "description": "Of the new weights."}),
    deliveries=listing(DELIVERY),
    **END,
)

TEST_JOB = record(
    job_id=JOB_ID,
    kind={"const": "test"},
    **PROGRESS,
    dataset=TEXT,
    split=maybe({"enum": list(SPLITS)}),
    save_dir=maybe(TEXT),
    model=maybe(TEXT),
    figures=maybe(EVALUATION),
    deliveries=listing(DELIVERY),
    **END,
)

TRAINING_SCHEMAS: dict[str, Schema] = {
    "Dataset": DATASET,
    "Datasets": record(datasets=listing(refer("Dataset"))),
    "DatasetDone": record(message=TEXT, dataset=refer("Dataset")),
    "TrainingJob": TRAINING_JOB,
    "TestJob": TEST_JOB,
    "Files": record(files=listing(record(name=TEXT, url=TEXT, size=COUNT))),
}
