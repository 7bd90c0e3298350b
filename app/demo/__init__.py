"""The demo: the whole service on one machine, with two libraries that serve pages and a client app.

    __main__        ``bash run.sh demo``: detects in two documents, then compares them
    iiif_server     serves a folder of images over IIIF
    reprint         makes the second document from the first
    client_app      records what it receives
    service         runs all processes of the service
    api_client      sends requests and follows jobs
    judged_pairs    marks each pair of illustrations as right or wrong
    contact_sheet   draws annotations over pages, and the images of each pair next to each other

In: the sample document. Out: ``data/demo``, with the received files and two pictures.
"""
