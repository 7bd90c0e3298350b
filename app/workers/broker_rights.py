"""Check that the Redis user of the service may do what Celery, the rate limits and the counters need.

The commands run on keys of their own, which exist only for the check. A command or a key that is not permitted gets
the error NOPERM, whatever the type of the key: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from typing import Any

from redis import Connection, Redis
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from app.errors import SettingsError
from app.jobs.states import QUEUES

# Rights that are sufficient, in the words of ``ACL SETUSER``.
SUFFICIENT = "~* &* +@all -@admin -@dangerous"
# A command for each category of ``ACL CAT``. LPUSH comes before BRPOP, which would wait on an empty list.
_COMMANDS = (
    "SET {0}:string 1 EX 60",  # @string, @write
    "LPUSH {0}:list x",  # @list
    "BRPOP {0}:list 1",  # @blocking
    "HGETALL {0}:hash",  # @hash, @read
    "SREM {0}:set x",  # @set
    "ZREM {0}:sorted x",  # @sortedset
    "DEL {0}:string",  # @keyspace
    "MULTI",  # @transaction
    "EXEC",
    "TIME",  # @fast
    "SCRIPT LOAD return",  # @scripting
    "PUBLISH /{1}.celery.probe x",  # @pubsub
)
_PROBE = "extractor:probe"
# One key for each beginning of names: two of Celery, one of the rate limits.
_OTHER_KEYS = ("_kombu.binding.io", "_kombu.binding_deadlines", "LIMITS:LIMITER/x")


def check_rights(client: Redis, database: int) -> None:
    """Run each command on keys for the check, and a harmless command on the keys of the service.

    Args:
        client: Connection to the broker.
        database: Database number, which is part of the names of Celery's channels.

    Raises:
        SettingsError: The user lacks a right, or the broker is a read-only replica.
    """
    commands = [command.format(_PROBE, database).split() for command in _COMMANDS]
    commands += [["HDEL", key, _PROBE] for key in (*QUEUES, *_OTHER_KEYS)]
    commands.append(["PSUBSCRIBE", f"/{database}.celery.pidbox"])  # the last one: it changes the connection
    connection = client.connection_pool.get_connection()
    try:
        for command in commands:
            connection.send_command(*command)
            _read_answer(connection, " ".join(command[:2]))
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)


def _read_answer(connection: Connection, command: str) -> None:
    try:
        connection.read_response(push_request=True)
    except ReadOnlyError:
        raise SettingsError("The broker is a read-only replica: set CELERY_BROKER_URL to the primary.") from None
    except ResponseError as error:
        # Others are harmless, such as that of a key which has another type.
        if isinstance(error, NoPermissionError) or str(error).lower().startswith("unknown command"):
            raise SettingsError(
                f"The user of CELERY_BROKER_URL may not run {command}: "
                f"allow it in Redis with ACL SETUSER <user> {SUFFICIENT}."
            ) from None


def describe_eviction(client: Redis) -> str:
    """Return a warning if the broker removes messages when its memory is full; "" if not, or if it does not say so."""
    try:
        memory: Any = client.info("memory")
    except ResponseError:  # INFO is not permitted
        return ""
    policy = str(memory.get("maxmemory_policy", ""))
    if not memory.get("maxmemory") or not policy.startswith("allkeys"):
        return ""
    return (
        f"The broker removes messages when its memory is full (maxmemory-policy {policy}): set noeviction. "
        "Removed messages are sent again within 10 seconds."
    )
