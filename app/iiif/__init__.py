"""IIIF: manifests, image services, and fetching from them.

    json_ld         read values from JSON-LD, in every form that libraries use
    manifest        a manifest → canvases, with the label of the document and the names of its images
    canvas          a canvas → the images painted on it
    collection      a collection → the URLs of its manifests

    image_api       an image service, versions 1 to 3, and its URLs
    image_info      the ``info.json`` of an image
    image_requests  the URLs to request for an image or a region, at the required size
    tiles           the size and the tiles to request from a static service

    stated_sizes    decide from a sample whether the sizes that a manifest states can replace ``info.json``
    measured_sizes  decide which size the full-size image of a fetched file has
    known_servers   facts about image servers that are known from earlier images of a job
    estimate        requests, bytes and seconds of the download of a manifest

    images          fetch the image of a canvas
    tile_fetching   fetch the tiles of an image and join them
    regions         fetch a region of an image, or a whole image in regions
    fetch           HTTP client with limits, retries and clear errors
    responses       read responses: status, and body in memory or in a file
    hosts           the rules of known hosts (``iiif/hosts.toml``)
    host_limits     rate limits for each host, shared by all workers

In: the URL of a manifest. Out: canvases with their images, and image files with the size of the full image. Errors:
``ManifestError``, ``FetchError``, ``NotAnImage``.
"""
