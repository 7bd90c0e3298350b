"""AIKON fronts: requests without a key, which belong to a client app by the network that they come from."""

import ipaddress

from flask import request

from app.auth import find_named_app
from app.database.tables import ClientApp
from app.errors import WrongNetwork
from app.server.proxies import read_client_address
from app.services import current_services


def find_front() -> ClientApp:
    """Return the client app ``AIKON_APP`` for a request without a key from ``AIKON_NETWORKS``.

    Browsers send ``Origin`` with requests that another site has caused, and fronts do not. Such requests are refused,
    because the network of a person who visits a site says nothing about that site.

    Raises:
        WrongNetwork: The request comes from another network or from a browser, or there is no such client app.
    """
    settings = current_services.settings
    address = read_client_address(request.environ, settings.proxies)
    if address is None:
        raise WrongNetwork("The address of this request is not certain: set PROXIES to the number of proxies.")
    if not _is_in(address, settings.aikon_networks):
        raise WrongNetwork(f"{address} is not in AIKON_NETWORKS: send an API key in the header X-API-Key.")
    if "Origin" in request.headers:
        raise WrongNetwork("This request comes from a web page: send an API key in the header X-API-Key.")
    app = find_named_app(current_services.database, settings.aikon_app)
    if app is None:
        raise WrongNetwork(
            f"AIKON_APP: there is no single client app named {settings.aikon_app}: add it on the server."
        )
    return app


def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in ipaddress.ip_network(network) for network in networks)
