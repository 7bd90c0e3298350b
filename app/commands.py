"""``flask --app app.app apps …``: make, hash, list and revoke the API keys of client apps."""

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
commands.cli.short_help = "Make, hash, list and revoke the API keys of client apps."


@contextmanager
def _errors_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except ExtractorError as error:
        raise click.ClickException(error.message) from error


@commands.cli.command("add")
@click.argument("name")
def add_command(name: str) -> None:
    """Register client app NAME and print its key, once; then, as a message, its secret."""
    database = current_services.database
    with _errors_in_a_sentence():
        click.echo(add_app(database, name))
        # Not on the standard output, which holds the key alone: scripts read it.
        click.echo(f"What is sent to {name} is signed with the secret {renew_secret(database, name)}", err=True)


@commands.cli.command("renew")
@click.argument("name")
def renew_command(name: str) -> None:
    """Replace the key of client app NAME and print the new one, once."""
    with _errors_in_a_sentence():
        click.echo(renew_app(current_services.database, name))


@commands.cli.command("secret")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Sign nothing that is sent to NAME any more.")
def secret_command(name: str, remove: bool) -> None:
    """Replace the secret of client app NAME and print the new one, once."""
    with _errors_in_a_sentence():
        if remove:
            remove_secret(current_services.database, name)
            click.echo(f"What is sent to {name} is no longer signed.")
        else:
            click.echo(renew_secret(current_services.database, name))


@commands.cli.command("revoke")
@click.argument("name")
def revoke_command(name: str) -> None:
    """Revoke the key of client app NAME."""
    with _errors_in_a_sentence():
        revoke_app(current_services.database, name)
    click.echo(f"{name} is revoked.")


@commands.cli.command("hash")
@click.argument("name", required=False)
def hash_command(name: str | None) -> None:
    """Store plain keys hashed: every one, or that of client app NAME. They keep working."""
    with _errors_in_a_sentence():
        hashed = hash_plain_keys(current_services.database, name)
    for each in hashed:
        click.echo(f"The key of {each} is stored hashed now, and works as before.")
    if not hashed:
        click.echo("Every key is stored hashed already." if name is None else f"The key of {name} is hashed already.")


@commands.cli.command("list")
def list_command() -> None:
    """List the client apps."""
    with current_services.database.session() as session:
        apps = session.scalars(select(ClientApp).order_by(ClientApp.id)).all()
    for app in apps:
        kind = "plain" if is_plain(app) else "hashed" if app.app_key.strip() else "no"
        click.echo(f"{app.id}\t{app.app_name.strip()}\t{kind} key")
    if any(map(is_plain, apps)):
        click.echo("Whoever reads the database reads the plain keys: flask --app app.app apps hash", err=True)
