"""What a client of Redis has to be, and what its errors say; the package imports no client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._bus.callbacks import is_coroutine_function
from .._errors import RelayError

if TYPE_CHECKING:
    from typing import Any, Sequence

# The names of errors, or of what they are derived from, after which Redis may be reached again
# without anybody doing something, and how other errors of that kind begin. The rest is refusals.
PASSING = frozenset(
    {
        "ConnectionError",
        "TimeoutError",
        "OSError",
        "ClusterError",  # while a slot moves to another node, after some tries of the client
        "MasterDownError",
        "TryAgainError",
        "RedisClusterException",
    }
)
PASSING_WORDS = "BUSY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "NOREPLICAS "
OTHER_SLOT = "key slot"  # of a cluster: the name of a stream is none for it


def check_client(client: Any) -> None:
    """TypeError or ValueError for a client that cannot be used."""
    execute = getattr(client, "execute_command", None)
    is_one = callable(execute) and callable(getattr(client, "register_script", None))
    # A pipeline answers nothing until it is executed, and its class is none yet.
    if not is_one or hasattr(client, "execute") or isinstance(client, type):
        raise TypeError(f"client: {client!r} is not a client like redis.Redis(...)")
    if is_coroutine_function(execute):
        raise TypeError(f"client: {client!r} is asynchronous; give the relay a redis.Redis(...)")
    options = _options(client)
    if options.get("decode_responses"):
        raise ValueError(
            "client: it has decode_responses=True, but entries of others may not be text; "
            "give the relay one without"
        )
    if not options.get("socket_timeout"):
        raise ValueError(
            "client: it has no socket_timeout, so a Redis that stands still would be waited for "
            "without end; give the relay a redis.Redis(..., socket_timeout=5)"
        )
    pool = getattr(client, "connection_pool", None)
    if getattr(pool, "cache", None) is not None:
        raise ValueError(
            "client: it caches what Redis answers, and a relay asks for what is new; give it a "
            "redis.Redis(...) without cache and cache_config"
        )
    most = getattr(pool, "max_connections", None) or options.get("max_connections") or 2
    if getattr(client, "connection", None) is not None or most < 2:
        raise ValueError(
            "client: it has one connection, and a relay needs two, since it waits for the stream "
            "with one of them; give it a redis.Redis(...) without single_connection_client, and "
            "with max_connections of 2 or more"
        )


class Script:
    """A script that Redis runs, which knows it by its digest, and is given it where it does not.

    As the client's own, which takes more time than the client takes for the request.
    """

    def __init__(self, client: Any, text: str) -> None:
        self._run = client.evalsha
        self._own = client.register_script(text)

    def __call__(self, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        """What it returns; raises what the client raises."""
        try:
            return self._run(self._own.sha, len(keys), *keys, *arguments)
        except Exception as error:
            if type(error).__name__ != "NoScriptError":
                raise
        return self._own(keys, arguments)


def is_away(error: RelayError) -> bool:
    """Is it that Redis cannot be reached, not that it refuses?"""
    cause = error.__cause__
    names, words = {kind.__name__ for kind in type(cause).__mro__}, str(cause)
    return OTHER_SLOT not in words and bool(names & PASSING or words.startswith(PASSING_WORDS))


def _options(client: Any) -> dict[str, Any]:
    options: dict[str, Any] = getattr(client, "get_connection_kwargs", dict)()
    return options
