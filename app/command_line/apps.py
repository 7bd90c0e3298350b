"""The commands ``flask --app app.app apps …``, which manage the API keys and signing secrets of client apps."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import Blueprint
from sqlalchemy import select

from app.auth import add_app, hash_plain_keys, is_plain, remove_secret, renew_app, renew_secret, revoke_app
from app.database.tables import ClientApp
from app.errors import ExtractorError
from app.services import current_services

commands = Blueprint("apps", __name__, cli_group="apps")
commands.cli.short_help = "Manage the API keys and signing secrets of client apps."


@contextmanager
def _report_errors() -> Iterator[None]:
    try:
        yield
    except ExtractorError as error:
        raise click.ClickException(error.message) from error


@commands.cli.command("add")
@click.argument("name")
def add_command(name: str) -> None:
    """Register client app NAME.

    Prints its API key on stdout and its signing secret on stderr. Both are shown only once.
    """
    database = current_services.database
    with _report_errors():
        click.echo(add_app(database, name))
        # On stderr, because scripts read the key from stdout.
        click.echo(f"Deliveries to {name} are signed with the secret {renew_secret(database, name)}", err=True)


@commands.cli.command("renew")
@click.argument("name")
def renew_command(name: str) -> None:
    """Replace the API key of client app NAME and print the new one, which is shown only once."""
    with _report_errors():
        click.echo(renew_app(current_services.database, name))


@commands.cli.command("secret")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Delete the secret: deliveries to NAME are no longer signed.")
def secret_command(name: str, remove: bool) -> None:
    """Replace the signing secret of client app NAME and print the new one, which is shown only once."""
    with _report_errors():
        if remove:
            remove_secret(current_services.database, name)
            click.echo(f"Deliveries to {name} are no longer signed.")
        else:
            click.echo(renew_secret(current_services.database, name))


@commands.cli.command("revoke")
@click.argument("name")
def revoke_command(name: str) -> None:
    """Delete client app NAME, its API key and its signing secret."""
    with _report_errors():
        revoke_app(current_services.database, name)
    click.echo(f"Client app {name} is revoked.")


@commands.cli.command("hash")
@click.argument("name", required=False)
def hash_command(name: str | None) -> None:
    """Hash the API keys that are stored in plain text: all, or that of client app NAME. The keys remain valid."""
    with _report_errors():
        hashed = hash_plain_keys(current_services.database, name)
    for each in hashed:
        click.echo(f"The key of {each} is now stored hashed. It remains valid.")
    if not hashed:
        click.echo("All keys are already hashed." if name is None else f"The key of {name} is already hashed.")


@commands.cli.command("list")
def list_command() -> None:
    """List the client apps."""
    with current_services.database.session() as session:
        apps = session.scalars(select(ClientApp).order_by(ClientApp.id)).all()
    for app in apps:
        kind = "plain" if is_plain(app) else "hashed" if app.app_key.strip() else "no"
        click.echo(f"{app.id}\t{app.app_name.strip()}\t{kind} key")
    if any(map(is_plain, apps)):
        click.echo("Plain keys can be read in the database. To hash them: flask --app app.app apps hash", err=True)
