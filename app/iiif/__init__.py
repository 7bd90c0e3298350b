"""IIIF: manifests, image services, and fetching from them.

    json_ld         read values from JSON-LD, in every form that libraries use
    manifest        a manifest → canvases, with the label of the document and the names of its images
    canvas          a canvas → the images painted on it
    collection      a collection → the URLs of its manifests
    image_api       an image service and its ``info.json``, versions 1 to 3
    image_requests  the URLs to request for an image or a region, at the required size
    stated_sizes    decide from a sample whether the sizes that a manifest states can replace ``info.json``
    images          fetch the image of a canvas
    regions         fetch an image region by region
    fetch           HTTP client with limits, retries and clear errors
    hosts           the rules of known hosts (``iiif/hosts.toml``)
    host_limits     rate limits for each host, shared by all workers

In: the URL of a manifest. Out: canvases with their images, and image files with the size of the full image. Errors:
``ManifestError``, ``FetchError``, ``NotAnImage``.
"""
