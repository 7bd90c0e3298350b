"""Image files and their pixels.

    formats      recognise a file by its first bytes; check that it is complete; encode joined images
    orientation  the EXIF orientation, and the coordinates of this service
    colours      convert any colours to RGB, transparent parts to white
    pixels       decode a file at a reduced size; encode it as JPEG; load batches in advance
    overlays     draw true and detected boxes on a page
    drawn_pairs  draw two images next to each other, with their matched regions

In: image files. Out: upright RGB arrays ``(height, width, 3)`` uint8, and comparison images.

:func:`~app.images.pixels.decode_picture` decodes all image files, so every part of the service uses the same pixels and
coordinates.
"""
