"""Pictures of two images of a similarity job next to each other, with the matched regions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.errors import NotFound
from app.images.drawn_pairs import LabelledImage, describe_transform, draw_pair
from app.images.pixels import UNREADABLE, format_jpeg, load_reduced
from app.jobs.pairs import ComparisonResult
from app.jobs.requests.reading import show
from app.similarity.scores import ComparedDocument
from app.similarity.verified_pairs import RELATED, SAME_BLOCK, Region, Verdict, Verification
from app.storage import Storage

# Longer side of a decoded image, in pixels: a little more than the picture needs.
_LONGEST = 1200
_VERDICTS = {
    Verdict.SAME: "Same block",
    Verdict.PART: "Same block, in a part of the image",
    Verdict.COPY: "Perhaps a copy: the same design, but not the same block",
    Verdict.NONE: "No common block found",
}


@dataclass(frozen=True)
class NamedImage:
    """An image of a job: the ID of its document, and its name."""

    doc_id: str
    name: str


def draw_named_pair(storage: Storage, result: ComparisonResult, first: NamedImage, second: NamedImage) -> bytes:
    """Return a JPEG file with two images of a job, in this order.

    Args:
        storage: Storage with the cached images.
        result: Result of the job.
        first, second: Images; their documents belong to the job.

    Raises:
        NotFound: There is no such image, or its file was removed.
    """
    one, other = _find(result, first), _find(result, second)
    found = _find_verification(result, one, other)
    regions = (found.region_1, found.region_2) if found else (None, None)
    images = [_load(storage, image, region) for image, region in zip((one, other), regions, strict=True)]
    return format_jpeg(draw_pair(images[0], images[1], found.transform if found else None, _describe(found)))


def load_named_image(storage: Storage, result: ComparisonResult, image: NamedImage, longest: int) -> bytes:
    """Return an image of a job as JPEG, reduced to a longer side in pixels.

    Raises:
        NotFound: There is no such image, or its file was removed.
    """
    picture = _load(storage, _find(result, image), None).picture
    picture.thumbnail((longest, longest))
    return format_jpeg(picture, quality=85)


def find_verified(result: ComparisonResult, first: NamedImage, second: NamedImage) -> Verification | None:
    """Return the verification of two images, from the first to the second; None if they were not verified.

    Regions and transform are in pixels of the full-size images.

    Raises:
        NotFound: There is no such image.
    """
    return _find_verification(result, _find(result, first), _find(result, second))


@dataclass(frozen=True)
class _Found:
    """An image of a job: its document, and its place in the lists of the document."""

    document: ComparedDocument
    place: int

    @property
    def name(self) -> str:
        return self.document.names[self.place]


def _find(result: ComparisonResult, image: NamedImage) -> _Found:
    document = result.load_document(image.doc_id)
    if document is None or image.name not in document.names:
        raise NotFound(f"Document {show(image.doc_id)} has no compared image {show(image.name)}.")
    return _Found(document, document.names.index(image.name))


def _find_verification(result: ComparisonResult, first: _Found, second: _Found) -> Verification | None:
    """Return the verification of a pair, from the first image to the second; None if it was not verified."""
    ids = first.document.doc_id, second.document.doc_id
    if ids[0] > ids[1]:
        found = _find_verification(result, second, first)
        return found and _turn(found)
    # Most pairs have the verdict ``none``. Reading these takes a hundred times as long.
    for verdicts in (RELATED, (Verdict.NONE,)):
        verified = result.load_verified(ids, verdicts)
        for pair in verified.pairs if verified else ():
            if (pair.first, pair.second) == (first.place, second.place):
                return pair.verification
            if ids[0] == ids[1] and (pair.second, pair.first) == (first.place, second.place):
                return _turn(pair.verification)
    return None


def _turn(found: Verification) -> Verification:
    """Return the verification of the same pair in the other order."""
    return replace(
        found,
        region_1=found.region_2,
        region_2=found.region_1,
        transform=found.transform and invert(found.transform),
    )


def invert(transform: Sequence[float]) -> tuple[float, ...]:
    """Return the inverse of an affine transform ``(a, b, tx, c, d, ty)``."""
    a, b, tx, c, d, ty = transform
    area = a * d - b * c
    return d / area, -b / area, (b * ty - d * tx) / area, -c / area, a / area, (c * tx - a * ty) / area


def _load(storage: Storage, image: _Found, region: Region | None) -> LabelledImage:
    try:
        width, height = image.document.sizes[image.place]
        picture = load_reduced(storage.cached_image(image.document.files[image.place]), _LONGEST)
    except UNREADABLE as error:  # the file was removed, or is damaged
        raise NotFound(
            f"The file of image {show(image.name)} is no longer cached: compare its document again."
        ) from error
    return LabelledImage(picture, (width, height), (image.document.doc_id, image.name), region)


def _describe(found: Verification | None) -> str:
    if found is None:
        return "Not verified"
    related = found.verdict in SAME_BLOCK
    words = [f"probability{'' if related else ' of the same block'} {found.probability:.2f}"]
    if found.inliers:
        words.append(f"{found.inliers} matching points")
    if found.transform and (turned := describe_transform(found.transform)):
        words.append(turned)
    return f"{_VERDICTS[found.verdict]} ({', '.join(words)})" if found.region_1 else _VERDICTS[found.verdict]
