"""Image files: formats, pixels, and boxes drawn on them."""
