"""Pages for people at ``/ui``: what a client app can do, without a program. They read without JavaScript.

    rendering         templates, texts, error pages, and the headers of every page
    sign_in           sign in with an API key, sign out
    job_list          all jobs, with a form that starts a detection
    compare_page      the form that compares documents
    job_page          one job of any kind: its progress, cancel, retry, deliver again
    detection_page    the pages of a detection job, one page, all illustrations
    correction_page   correct the boxes of a page, make a data set of the corrected pages
    dataset_page      the data sets, trainings on them, and the figures of weights on their held-out pages
    similarity_page   the pairs of images of a similarity job, and the groups
    search_page       search for an image, and the matches
    model_page        the detection weights with their cards
    page_cells        the pages of a detection job with their detections and corrections, also while it runs
    image_views       the images on all these pages

    templates/        Jinja templates
    texts/            every text of the pages in a file for each language; English only so far
    static/           style sheet, scripts, and OpenSeadragon with its licence

In: requests with the cookie of a session (see ``app/server/sessions.py``). Out: HTML. The pages call the views of
``app/routes``, so a person and a program get the same answers, limits and errors.
"""

from flask import Flask


def register(app: Flask) -> None:
    """Register the pages in an application."""
    # These modules add their views; they import the others.
    from app.web import compare_page, dataset_page, image_views, job_list, job_page, model_page, sign_in  # noqa: F401
    from app.web.rendering import open_pages, pages

    app.register_blueprint(pages)
    app.register_blueprint(open_pages)
