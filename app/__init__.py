"""extractorAPI: detects and compares the illustrations of digitised historical documents, for client apps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings


def create_app(settings: "Settings | None" = None) -> "Flask":
    """Build the Flask application: settings, database, queue, services, commands, middleware and all routes.

    No other module connects these parts.
    """
    from flask import Flask

    from app import aikon, routes, web
    from app.command_line import apps
    from app.config import Settings
    from app.server import middleware
    from app.services import Services
    from app.workers.queue import JobQueue

    settings = settings or Settings.load()
    queue = JobQueue(settings)
    services = queue.services = Services(settings, queue)
    services.database.upgrade()

    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions |= {"services": services, "queue": queue}
    app.register_blueprint(apps.commands)
    middleware.register(app, settings)
    routes.register(app)
    aikon.register(app)
    web.register(app)
    return app
