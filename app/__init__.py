"""extractorAPI: detects and compares the illustrations of digitised historical documents, for client apps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings
    from app.workers.queue import JobQueue


def create_queue(settings: "Settings | None" = None) -> "JobQueue":
    """Build the Celery application: settings, services, database and queue, without the routes."""
    from app.config import Settings
    from app.services import Services
    from app.workers.queue import JobQueue

    settings = settings or Settings.load()
    queue = JobQueue(settings)
    queue.services = Services(settings, queue)
    queue.services.database.upgrade()
    return queue


def create_app(settings: "Settings | None" = None) -> "Flask":
    """Build the Flask application: services and queue, commands, middleware and all routes.

    No other module connects these parts.
    """
    from flask import Flask

    from app import aikon, routes, web
    from app.command_line import apps
    from app.server import middleware

    queue = create_queue(settings)
    services = queue.services

    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions |= {"services": services, "queue": queue}
    app.register_blueprint(apps.commands)
    middleware.register(app, services.settings)
    routes.register(app)
    aikon.register(app)
    web.register(app)
    return app
