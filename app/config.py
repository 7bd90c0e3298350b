"""Settings: every environment variable of the service, with its type and default.

    python -m app.config api_port    prints one setting as the service reads it

Settings are read once at start, from the environment and from ``.env`` next to ``run.py``; the environment wins.
A malformed value stops the program with a message that names the variable.
"""

import re
import ssl
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from limits import parse_many
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import SettingsError
from app.setting_urls import BrokerAddress, check_client_app_url, check_database_url, check_networks

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = "extractorAPI"
VERSION = "1.0.0"

UnderRoot = Annotated[Path, AfterValidator(lambda path: path if path.is_absolute() else ROOT / path)]


def _split_words(value: Any) -> Any:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _check_token(value: str) -> str:
    if not re.fullmatch("[!-~]*", value):
        raise ValueError("must consist of ASCII characters without spaces, because a header contains it")
    return value


Token = Annotated[str, AfterValidator(_check_token)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_words)]


class Settings(BaseSettings):
    """The settings of one process. The environment variable ``API_PORT`` sets the field ``api_port``."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    # Addresses
    celery_broker_url: str = "redis://localhost:6379"
    api_host: Annotated[str, AfterValidator(lambda host: host.strip("[]"))] = "127.0.0.1"
    api_port: int = Field(5000, ge=1, le=65535)
    proxies: int = Field(0, ge=0, le=9)
    debug: bool = False
    client_app_url: Annotated[str, AfterValidator(check_client_app_url)] = ""
    aikon_networks: Annotated[Words, AfterValidator(check_networks)] = ()
    aikon_app: str = "aikon"

    # Storage
    db_name: str = Field("extractor", pattern=r"^[A-Za-z0-9_.-]+$")
    database_url: Annotated[str, AfterValidator(lambda url: url and check_database_url(url))] = ""
    data_folder: UnderRoot = ROOT / "data"
    models_folder: UnderRoot = ROOT / "models"
    retention_days: float = Field(7, gt=0)
    result_days: float | None = Field(None, gt=0)

    # Detection
    default_model: str = "illustrations.pt"
    confidence: float = Field(0.25, ge=0, le=1)
    model_size: int | None = Field(None, ge=32, le=4096)
    batch_size: int = Field(8, ge=1, le=512)
    device: str = ""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    # Fetching
    image_size: int | None = Field(None, ge=64)
    operator_contact: str = ""
    trusted_hosts: Words = ()
    ca_bundle: UnderRoot | None = None
    host_interval_seconds: float = Field(0.1, ge=0)
    fetch_attempts: int = Field(5, ge=1, le=20)
    fetch_timeout_seconds: float = Field(20, gt=0)
    max_canvases: int = Field(5000, ge=1)

    # Requests
    rate_limit: str = "6000/minute"
    rate_limit_address: str = "600/minute"
    max_request_mb: float = Field(16, gt=0)
    request_seconds: float = Field(60, gt=0)
    max_dataset_mb: float = Field(2000, gt=0)

    # Jobs
    heartbeat_seconds: float = Field(5, gt=0)
    stale_seconds: float = Field(30, gt=0)
    detect_hours: float = Field(24, gt=0)

    # Monitoring
    ready_seconds: float = Field(60, ge=1)
    metrics_token: Token = ""
    log_format: Literal["text", "json"] = "text"

    # Training
    training_batch_size: int = Field(16, ge=1, le=512)
    comet_api_key: Token = ""
    comet_project_name: str = ""
    comet_workspace: str = ""

    @field_validator("celery_broker_url")
    @classmethod
    def _broker(cls, value: str) -> str:
        BrokerAddress.parse(value)
        return value

    @field_validator("ca_bundle")
    @classmethod
    def _certificates(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError as error:
            found = (
                "a private key and no certificate" if b"PRIVATE KEY" in path.read_bytes() else "no valid certificate"
            )
            raise ValueError(f"{path} has {found}; name a PEM file with the certificates of authorities") from error
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}); name a PEM file") from error
        return path

    @field_validator("rate_limit", "rate_limit_address")
    @classmethod
    def _rate(cls, value: str) -> str:
        try:
            parse_many("1/second" if value == "off" else value)
        except ValueError as error:
            raise ValueError("must be a rate such as 600/minute, or off") from error
        return value

    @classmethod
    def load(cls, **overrides: Any) -> "Settings":
        """Read the environment and ``.env``.

        Raises:
            SettingsError: Some values are missing or malformed. The message names each of them, without its value.
        """
        _check_env_file(cls.model_config.get("env_file"))
        try:
            return cls(**overrides)
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            ]
        raise SettingsError(f"Correct these settings in .env or the environment: {'; '.join(faults)}.")

    @property
    def broker(self) -> BrokerAddress:
        """Address of the broker."""
        return BrokerAddress.parse(self.celery_broker_url)

    @property
    def broker_url(self) -> str:
        """URL of the broker, in the form that all libraries read alike."""
        return self.broker.format(self.broker_database)

    @property
    def broker_database(self) -> int:
        """Database number of the broker. Without one in the URL, it is 1 with ``DEBUG``, otherwise 0."""
        number = self.broker.database
        return int(self.debug) if number is None else number

    def choose_longest_image(self, size: int) -> int:
        """Return the longer side of the images to request, in pixels.

        The default is 25 % more than the input of the network, so images are scaled down and never up.
        ``bench/README.md`` compares other sizes.

        Args:
            size: Longer side of the network's input, in pixels.
        """
        return self.image_size or round(1.25 * size)

    @property
    def backbones_folder(self) -> Path:
        return self.models_folder / "backbones"

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{ROOT / self.db_name}.db"

    @property
    def trusted_addresses(self) -> frozenset[str]:
        """Hosts that may have a private address: ``TRUSTED_HOSTS``, and host and port of ``CLIENT_APP_URL``."""
        parts = urlsplit(self.client_app_url)
        client = {f"{parts.hostname}:{parts.port or {'https': 443}.get(parts.scheme, 80)}"} if parts.hostname else set()
        return frozenset(self.trusted_hosts) | client

    @property
    def user_agent(self) -> str:
        """The header ``User-Agent`` of outgoing requests: the product and, if set, ``OPERATOR_CONTACT``."""
        contact = f" (contact: {self.operator_contact})" if self.operator_contact else ""
        return f"{PRODUCT}/{VERSION}{contact}"


def _check_env_file(path: Any) -> None:
    """Raise an error for a file that cannot be read, and for a line of a setting that python-dotenv would skip."""
    try:
        with open(path or "", encoding="utf-8") as file:
            lines = [(each.original.line, each.original.string) for each in parse_stream(file) if each.error]
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    for number, line in lines:
        name = line.partition("=")[0].strip().lower()
        if name in Settings.model_fields:
            raise SettingsError(f"{path}, line {number}: {name.upper()} has no value; check its quotes.")


def main() -> None:
    name = "".join(sys.argv[1:2])
    if name not in Settings.model_fields:
        sys.exit(f"Name one setting, such as api_port: {', '.join(Settings.model_fields)}.")
    try:
        print(getattr(Settings.load(), name))
    except SettingsError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
