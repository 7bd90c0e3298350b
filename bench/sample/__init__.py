"""The sample document: four pages of an early printed book that never was, drawn with the true boxes of its woodcuts.

``woodcut`` is the block and the knife, ``motifs`` what is cut into it, ``pictures`` the four finished blocks,
``page`` the type, the paper and the scan, ``document`` the four pages. ``python -m bench sample`` writes them.
"""
