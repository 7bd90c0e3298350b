"""Image files and their pixels.

    formats   the formats that are read; whether a file is whole
    pixels    decode a file no larger than needed; load batches ahead
    overlays  draw true and detected boxes on a page

In: image files. Out: RGB arrays ``(height, width, 3)`` uint8, and comparison images.
"""
