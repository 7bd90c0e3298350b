"""Verification: do two images show the same printing block, and where?

    pictures        reduced pictures with local contrast normalised
    local_features  image → reduced picture and SIFT features, stored by the image's pixels
    registration    two sets of features → candidate transforms of the first picture onto the second
    agreement       candidate transform → refined transform, and how well the lines coincide
    verdicts        agreement → probability, verdict, matched regions
    verifier        ``verify``: all of the above for one pair

In: two ``LocalFeatures``. Out: a ``Verification``. Coordinates are pixels of the reduced pictures until ``verdicts``
scales them to the full-size images.
"""

from app.similarity.verification import local_features, verifier
from app.similarity.verification.local_features import LocalFeatures, extract_features
from app.similarity.verification.verifier import verify

# Part of the cache key of stored results.
VERSION = f"{local_features.VERSION} {verifier.VERSION}"

__all__ = ["VERSION", "LocalFeatures", "extract_features", "verify"]
