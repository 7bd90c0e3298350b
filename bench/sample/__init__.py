"""The sample document: four pages of an invented early printed book, with the true boxes of its woodcuts.

``python -m bench sample`` draws the pages.

    woodcut   a woodblock: draw lines, hatched shapes and letters on it, and print it
    motifs    draw motifs on a block: sun, moon, trees, towers, a ship, an armillary sphere
    pictures  compose the four woodcuts from motifs
    page      set text and woodcuts on a page, and make a scan of it
    document  the four pages and their true boxes; the command
"""
