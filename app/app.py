"""The ``app`` and ``celery`` objects of the commands ``flask --app app.app`` and ``celery -A app.app.celery``."""

import sys

from app import create_app
from app.errors import ExtractorError

try:
    app = create_app()
except ExtractorError as error:
    sys.exit(error.message)
celery = app.extensions["queue"]
