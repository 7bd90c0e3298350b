"""extractorAPI: finds the illustrations in digitised historical documents, for client apps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings


def create_app(settings: "Settings | None" = None) -> "Flask":
    """Join the parts: settings, database, queue, routes, commands. The one place where that is done."""
    from flask import Flask

    from app import auth, routes
    from app.config import Settings
    from app.database.tables import Database
    from app.detection.weights_description import Descriptions
    from app.server import rate_limiting
    from app.server.body import BoundedRequest
    from app.workers.queue import TaskQueue

    settings = settings or Settings.load()
    database = Database(settings.sqlalchemy_url)
    database.upgrade()
    queue = TaskQueue(settings, database)

    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_request_mb * 1e6)
    app.config["MAX_FORM_MEMORY_SIZE"] = int(settings.max_request_mb * 1e6)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions |= {
        "settings": settings,
        "database": database,
        "queue": queue,
        "jobs": queue.jobs,
        "storage": queue.storage,
        "datasets": queue.datasets,
        "models": queue.models,
        "descriptions": Descriptions(),
    }
    app.register_blueprint(auth.commands)
    rate_limiting.register(app)
    routes.register(app)
    return app
