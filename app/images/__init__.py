"""Image files and their pixels.

    formats   supported formats; check that a file is complete
    pixels    decode a file at a reduced size; load batches in advance
    overlays  draw true and detected boxes on a page

In: image files. Out: RGB arrays ``(height, width, 3)`` uint8, and comparison images.
"""
