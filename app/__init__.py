"""extractorAPI: finds the illustrations in digitised historical documents, for client apps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings


def create_app(settings: "Settings | None" = None) -> "Flask":
    """Join the parts: settings, database, queue, routes, commands. The one place where that is done."""
    from flask import Flask

    from app import commands, routes
    from app.config import Settings
    from app.server import rate_limiting
    from app.server.body import BoundedRequest
    from app.services import Services
    from app.workers.queue import JobQueue

    settings = settings or Settings.load()
    queue = JobQueue(settings)
    services = queue.services = Services(settings, queue)
    services.database.upgrade()

    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_request_mb * 1e6)
    app.config["MAX_FORM_MEMORY_SIZE"] = int(settings.max_request_mb * 1e6)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions |= {"services": services, "queue": queue}
    app.register_blueprint(commands.commands)
    rate_limiting.register(app)
    routes.register(app)
    return app
