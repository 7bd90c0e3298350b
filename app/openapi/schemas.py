"""The records of requests and answers, as JSON schemas."""

from typing import Any

from app.delivery.kinds import Kind, Status
from app.jobs import State
from app.jobs.requests.detection import LARGEST_IMAGE, SMALLEST_IMAGE
from app.jobs.requests.fields import LONGEST_LABEL
from app.jobs.requests.names import LONGEST_NAME
from app.jobs.requests.similarity import DEFAULT_TOPK, LARGEST_TOPK, MOST_DOCUMENTS, MOST_FORGOTTEN
from app.net.addresses import LONGEST_URL
from app.similarity.backbones import BACKBONES, DEFAULT_BACKBONE, Pooling
from app.similarity.transpositions import Transposition

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
JOB_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
TIME: Schema = {"type": "string", "format": "date-time"}
LABEL: Schema = {"type": "string", "maxLength": LONGEST_LABEL}
ADDRESS: Schema = {
    "type": "string",
    "pattern": "^https?://[A-Za-z0-9]",
    "maxLength": LONGEST_URL,
    "description": "A web address, without a user or a password.",
}


def record(**fields: Schema) -> Schema:
    """Return the schema of an object that has all of these fields."""
    return {"type": "object", "required": list(fields), "properties": fields}


def listing(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def maybe(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def refer(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


OPTIONS: Schema = {
    "model": LABEL | {"description": "Weights, by a name of GET /models; else the default of this server."},
    "callback": ADDRESS | {"description": "Receives the result, in place of CLIENT_APP_URL/annotate."},
    "notify_url": ADDRESS
    | {"description": "Is told what becomes of the job: started, progress, done, failed, cancelled."},
    "experiment_id": LABEL | {"description": "Passed through to the callback."},
    "image_size": {
        "type": "string",
        "pattern": "^([0-9]{2,6}|full)?$",
        "description": f"Longer side of the images to ask for: {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels, or «full».",
    },
}

DOC_ID: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "description": "A name, not a path."}

DOCUMENTS: Schema = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": MOST_DOCUMENTS,
    "propertyNames": DOC_ID,
    "additionalProperties": {
        "anyOf": [
            ADDRESS | {"description": "Of a list {image name: image address}."},
            record(url=ADDRESS),
            record(job_id=JOB_ID | {"description": "A detection job of yours that is done."}),
            record(manifest_url=ADDRESS | {"description": "Of the newest detection job of yours on it."}),
        ]
    },
}

COMPARISON_OPTIONS: Schema = {
    "model": LABEL | {"description": f"{', '.join(BACKBONES)}, or timm:<name>.", "default": DEFAULT_BACKBONE},
    "callback": ADDRESS | {"description": "Receives the score files, in place of CLIENT_APP_URL/similarity."},
    "notify_url": OPTIONS["notify_url"],
    "experiment_id": OPTIONS["experiment_id"],
    "topk": {"type": "integer", "minimum": 1, "maximum": LARGEST_TOPK, "default": DEFAULT_TOPK},
    "transpositions": {"type": "array", "items": {"enum": list(Transposition)}},
    "pooling": {"enum": ["", *Pooling], "description": "Of the backbone's maps; else its own."},
}

DOC_IDS: Schema = {"type": "array", "items": DOC_ID, "minItems": 1, "maxItems": MOST_FORGOTTEN}

ATTEMPT = record(at=TIME, http_status=maybe({"type": "integer"}), error=maybe(TEXT), seconds=NUMBER)

DELIVERY = record(
    id=TEXT | {"description": "Goes with every try, as webhook-id."},
    kind={"enum": list(Kind)},
    url=TEXT,
    attempts=COUNT,
    status={"enum": list(Status)},
    http_status=maybe({"type": "integer"}),
    error=maybe(TEXT),
    next_attempt=maybe(TIME),
    history=listing(ATTEMPT),
)
DELIVERY["properties"]["part"] = TEXT | {"description": "Of a similarity job: which pair of documents."}

PROGRESS: Schema = {
    "state": {"enum": [state.value for state in State]},
    "progress": record(stage=TEXT, done=COUNT, total=COUNT),
    "created": TIME,
    "updated": TIME,
    "finished": maybe(TIME),
}
END: Schema = {
    "timings": {"type": "object", "additionalProperties": NUMBER, "description": "Seconds in each stage."},
    "error": maybe(record(code=TEXT, message=TEXT)),
}

JOB = record(
    job_id=JOB_ID,
    kind={"enum": ["detection", "collection"]},
    **PROGRESS,
    manifest_url=TEXT,
    manifest_ref=maybe(TEXT),
    model=maybe(TEXT),
    coverage=record(
        detected=COUNT, empty=COUNT, failed=listing(record(canvas_number={"type": "integer"}, reason=TEXT))
    ),
    deliveries=listing(DELIVERY),
    **END,
)
# Of a collection, the jobs of its manifests.
JOB["properties"]["jobs"] = listing(record(job_id=JOB_ID, manifest_url=TEXT, state=TEXT))

SIMILARITY_JOB = record(
    job_id=JOB_ID,
    kind={"const": "similarity"},
    **PROGRESS,
    documents={"type": "object", "additionalProperties": {"type": "object", "additionalProperties": TEXT}},
    model=TEXT,
    topk=COUNT,
    transpositions=listing({"enum": list(Transposition)}),
    pooling=maybe({"enum": list(Pooling)}),
    coverage=record(
        documents=listing(
            record(
                doc_id=TEXT,
                images=COUNT,
                usable=COUNT,
                failed=listing(record(image_name=TEXT, reason=TEXT)),
                error=maybe(TEXT),
            )
        )
    ),
    **END,
)
SIMILARITY_JOB["properties"] |= {
    "deliveries": listing(DELIVERY) | {"description": "Of GET /jobs/<id>."},
    "deliveries_by_status": {"type": "object", "additionalProperties": COUNT, "description": "Of GET /jobs."},
}

_IMAGE = record(name=TEXT, url=TEXT)
SIMILAR = record(score=NUMBER, transposition={"enum": list(Transposition)}, image_1=_IMAGE, image_2=_IMAGE)

DETECTION = record(
    xywh={"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4},
    confidence=NUMBER,
    class_id=COUNT,
    class_name=TEXT,
)

CANVAS = record(
    number={"type": "integer", "minimum": 1},
    canvas_id=TEXT,
    image_name=TEXT,
    width=maybe(COUNT),
    height=maybe(COUNT),
    status={"enum": ["detected", "empty", "failed"]},
    detections=listing(DETECTION),
)
CANVAS["properties"]["reason"] = TEXT  # of a failed one

# Seconds since something last came through each queue.
SILENCES: Schema = {"type": "object", "additionalProperties": maybe(NUMBER)}

# Of weights; of those that cannot be used, which ``error`` says, no more is known than their file.
MODEL: Schema = record(
    name=TEXT,
    label=TEXT | {"description": "As it goes with results."},
    default=FLAG,
    supported=FLAG,
    error=maybe(TEXT),
    architecture=maybe(TEXT),
    parameters=maybe(COUNT),
    classes={"type": "object", "additionalProperties": TEXT, "description": "Id → name."},
    input_size=maybe(COUNT | {"description": "Longer side that it was trained on, in pixels."}),
    sha256=maybe({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
    size=COUNT | {"description": "Of the file, in bytes."},
    changed=TIME,
    card=maybe(TEXT | {"description": "In Markdown."}),
)
DEFAULT: Schema = record(default=TEXT, previous=maybe(TEXT), since=maybe(TIME))

SCHEMAS: dict[str, Schema] = {
    "Error": record(message=TEXT | {"description": "One sentence for a person."}, code=TEXT),
    "Done": record(message=TEXT, job_id=JOB_ID),
    "Queued": record(message=TEXT, job_id=JOB_ID, status_url=TEXT),
    "QueuedList": record(
        message=TEXT,
        job_id=JOB_ID,
        status_url=TEXT,
        jobs=listing(record(manifest_url=TEXT, job_id=JOB_ID, status_url=TEXT)),
        refused=listing(record(line={"type": "integer", "minimum": 1}, text=TEXT, message=TEXT)),
    ),
    "DetectionJob": JOB,
    "SimilarityJob": SIMILARITY_JOB,
    "Job": {"anyOf": [refer(f"{kind}Job") for kind in ("Detection", "Similarity", "Training", "Test")]},
    "Jobs": record(jobs=listing(refer("Job"))),
    "Annotations": record(job_id=JOB_ID, manifest_url=TEXT, model=maybe(TEXT), canvases=listing(CANVAS)),
    "Scores": record(job_id=JOB_ID, documents=listing(TEXT), model=TEXT, pairs=listing(SIMILAR)),
    "Forgotten": record(message=TEXT, forgotten=listing(TEXT), in_use=listing(TEXT), unknown=listing(TEXT)),
    "Models": {"type": "object", "additionalProperties": TEXT, "description": "Name → time of the last change."},
    "Model": MODEL,
    "Default": {"allOf": [DEFAULT, record(error=maybe(TEXT))]},
    "NewDefault": {"allOf": [DEFAULT, record(message=TEXT)]},
    "Health": record(status={"const": "ok"}, database=TEXT, broker=TEXT),
    "NotHealthy": record(status={"const": "not ok"}, message=TEXT),
    "Ready": record(status={"const": "ready"}, queues=SILENCES),
    "NotReady": record(status={"const": "not ready"}, message=TEXT),
    "Document": {"type": "object", "description": "An OpenAPI document."},
}
