"""Benchmarks and recipes that are run by hand. ``python -m bench`` lists them; README.md has their results.

Each command is a module with ``add_arguments(parser)`` and ``run(arguments)``; ``__main__`` lists the modules.
Modules and packages that several commands use:

    labelled_pages  load images and their true boxes from a folder, and format the results of an evaluation
    timing          time several ways of doing the same work, and print a table of speeds
    tables          print Markdown tables, and describe the machine
    blocks          prints of blocks: labelled or drawn, ranked and verified
    sample          draw the sample document
    synthesis       draw synthetic pages for training
"""
