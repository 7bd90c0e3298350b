"""Rate limit rules of the hosts: the settings are the default, and known hosts have stricter rules.

The rules of known hosts and the reasons for them are in ``iiif/hosts.toml``.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import SettingsError
from app.net.addresses import read_host

KNOWN_HOSTS = Path(__file__).resolve().parents[2] / "iiif" / "hosts.toml"


@dataclass(frozen=True)
class HostRule:
    """Rate limits of one host.

    Attributes:
        connections: Maximum number of simultaneous requests.
        interval_seconds: Minimum time between the starts of two requests.
        image_size: Longer side, in pixels, above which an image counts as large; None if no image does.
        large_interval_seconds: Minimum time between the starts of two requests for large images.
    """

    connections: int = 4
    interval_seconds: float = 0.1
    image_size: int | None = None
    large_interval_seconds: float = 0.0

    def is_large(self, longest: int | None) -> bool:
        """Return whether an image with this longer side counts as large; None stands for the full size."""
        return self.image_size is not None and (longest is None or longest > self.image_size)


# Rule for trusted hosts: they belong to the operator, who can allow more requests.
TRUSTED = HostRule(connections=8, interval_seconds=0.0)


class HostRules:
    """The rules of all hosts.

    Args:
        default: Rule for unknown hosts.
        known: Rules by host name. A name that begins with a dot stands for a domain and its subdomains.
        is_trusted: Returns whether an unknown host, given as ``name:port``, gets the rule ``TRUSTED``.
    """

    def __init__(
        self,
        default: HostRule,
        known: Mapping[str, HostRule] | None = None,
        is_trusted: Callable[[str], bool] = lambda host: False,
    ) -> None:
        self.default = default
        self._is_trusted = is_trusted
        self._known = {_spell(name): rule for name, rule in (known or {}).items()}

    @classmethod
    def load(cls, path: Path, default: HostRule, is_trusted: Callable[[str], bool] = lambda host: False) -> "HostRules":
        """Load a file of known hosts. A rule can only be stricter than the default.

        Raises:
            SettingsError: The file cannot be read or contains an invalid rule.
        """
        try:
            tables = tomllib.loads(path.read_text()).get("host", [])
            known = {name: _build_rule(table, default) for table in tables for name in table["names"]}
            return cls(default, known, is_trusted)
        except OSError as error:
            raise SettingsError(f"The rules of known hosts cannot be read: {error}.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(f"{path.name} has an invalid rule: {error!r}.") from error

    def find(self, host: str) -> HostRule:
        """Return the rule of a host, given as ``name`` or ``name:port`` in any spelling."""
        name = _spell(host)
        parts = name.split(".")
        domains = (f".{'.'.join(parts[start:])}" for start in range(len(parts)))
        known = next((self._known[each] for each in (name, *domains) if each in self._known), None)
        return known or (TRUSTED if self._is_trusted(host) else self.default)


def _spell(host: str) -> str:
    """Return the normalized spelling of a host, or of a domain that begins with a dot, without the port."""
    dot = "." if host.startswith(".") else ""
    return dot + re.sub(r":\d+$", "", read_host(f"//{host.removeprefix('.')}"))


def _build_rule(table: Mapping[str, Any], default: HostRule) -> HostRule:
    if not (table["reason"] and table["source"]):
        raise ValueError("a rule needs a reason and a source")
    return HostRule(
        connections=max(1, min(default.connections, int(table.get("connections", default.connections)))),
        interval_seconds=max(default.interval_seconds, float(table.get("interval_seconds", 0))),
        image_size=int(table["image_size"]) if "image_size" in table else None,
        large_interval_seconds=float(table.get("large_interval_seconds", 0)),
    )
