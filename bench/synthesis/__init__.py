"""Synthetic pages: what a detector must find, and what it must leave alone, set on pages of training documents.

``sheets`` are the pages that are set on, and the illustrations cut from them; ``ink`` is how one page's ink comes onto
another's paper; ``diagrams``, ``ornaments`` and ``letters`` draw what is to be found, ``distractors`` what is not;
``wear`` is what time and scanners do; ``setting`` is a page while it is set, ``composition`` what is set on it;
``writing`` is the command ``python -m bench synthesis``, which writes the pages.
"""
