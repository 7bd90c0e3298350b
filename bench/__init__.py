"""Benchmarks and recipes, run by hand: ``python -m bench`` lists them (see README.md).

A command is a module with ``add_arguments(parser)`` and ``run(arguments)``; ``__main__`` has the list. What they share:

- ``labelled_pages``: a folder → its images, their true boxes, the figures of an evaluation;
- ``timing``: ways of doing the same work → the seconds of each, quiet and next to busy processes → a table of speeds;
- ``tables``: tables in Markdown, and the line that says where and when they were measured.

``sample`` draws the sample document, ``synthesis`` the synthetic pages of the training.
"""
