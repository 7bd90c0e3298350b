"""Synthetic pages for training: illustrations and distractors, drawn on pages of the training documents.

Distractors are marks that look like illustrations, but that a detector must not report.

    sheets           load labelled pages, and cut out their illustrations
    ink              separate ink from paper, and put ink on another page
    letters          draw letters and glyphs
    engraving        turn pictures into engravings, woodcuts, pen drawings and paintings
    motifs           load pictures, such as clip art, as illustrations
    diagrams         draw diagrams
    ornaments        draw printers' ornaments
    handwriting      draw handwriting
    distractors      draw initials, stamps, rules, tables and other distractors
    setting          find free places on a page, and place illustrations there
    writing_systems  set a page in Arabic, Greek, East Asian columns or on palm leaves
    composition      choose the illustrations and distractors of a page
    wear             add stains, show-through, blur and other damage of age and scanning
    beds             lay a page on the bed of a camera
    writing          write the pages: the command ``python -m bench synthesis``

A page goes from ``sheets`` through ``composition`` (which uses ``setting`` and the drawing modules) and ``wear`` to
``writing``.
"""
