"""Types of the JSON responses about pairs of images, as in ``answers``."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from app.jobs.job_answers import Count, JobId
from app.similarity.transpositions import Transposition
from app.similarity.verified_pairs import Verdict

Region = Annotated[list[int], Field(min_length=4, max_length=4)]


class Image(TypedDict):
    """An image of a document."""

    name: str
    url: str


class Verified(TypedDict):
    """The verification of two images. All fields are null if they were not verified.

    Regions and the transform are in pixels of the full-size images. An illustration of a detection job has the size of
    its box.
    """

    verdict: Annotated[Verdict | None, Field(description="Whether both images show the same printing block.")]
    probability: Annotated[float | None, Field(description="The probability that the block is the same, from 0 to 1.")]
    inliers: Annotated[Count | None, Field(description="The number of local features that agree.")]
    region_1: Annotated[Region | None, Field(description="The matched region of the first image: x, y, width, height.")]
    region_2: Annotated[
        Region | None, Field(description="The matched region of the second image: x, y, width, height.")
    ]
    transform: Annotated[
        Annotated[list[float], Field(min_length=6, max_length=6)] | None,
        Field(
            description="From pixels of the first image to pixels of the second. "
            "[a, b, c, d, e, f] is ax + by + c, dx + ey + f."
        ),
    ]


class ImagePair(Verified):
    """Two images, their similarity and their verification. The first image is image_1."""

    score: Annotated[float, Field(description="The cosine similarity, from -1 to 1. Higher is more similar.")]
    transposition: Annotated[Transposition, Field(description="The transformation of image_1 that gave the score.")]
    image_1: Image
    image_2: Image


class Scores(TypedDict):
    """The scores of two documents of a similarity job, best first."""

    job_id: JobId
    documents: Annotated[list[str], Field(description="The IDs of the documents of image_1 and of image_2.")]
    model: Annotated[str, Field(description="The network that embedded the images.")]
    total: Annotated[Count, Field(description="The number of pairs on all pages.")]
    next: Annotated[str | None, Field(description="The path of the next page; null on the last one.")]
    pairs: list[ImagePair]
