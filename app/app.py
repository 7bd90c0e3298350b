"""``app`` and ``celery``, for the command lines: ``flask --app app.app`` and ``celery -A app.app.celery``."""

from app import create_app

app = create_app()
celery = app.extensions["queue"]
