"""The commands for a terminal: ``python -m app …``, which needs no server, and ``flask --app app.app apps …``.

    program     the commands of ``python -m app``, their errors and exit codes
    outcome     the outcome of a command, as text and as JSON; progress bars
    workspace   the output folder of a command: results, and files that a later run reuses
    documents   the documents that a command names: fetched, and detected if needed
    detect      ``detect``: illustrations of documents
    compare     ``compare``: images of documents, pair by pair
    embedding   embed documents for a comparison or a search
    search      ``search``: one image in documents
    evaluate    ``evaluate``: weights on a labelled data set
    models      ``models``: the detection weights of this installation
    pictures    overlays and contact sheets
    apps        ``flask --app app.app apps …``: API keys and signing secrets of client apps

In: URLs and paths. Out: files in the output folder, a summary on the terminal. The commands use the pipelines of the
workers, with the same settings. They use neither the database nor the broker.
"""
