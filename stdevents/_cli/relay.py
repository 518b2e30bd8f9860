"""`relay`: how far each host is in a stream, as Redis itself knows it."""

from __future__ import annotations

import sys
from importlib import import_module

from .terminal import Terminal, harmless, json_of, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any

HELP = "how far each host is in the stream of a relay"
MORE = """\
Asks Redis alone, by redis-py. Each host has a consumer group HOST/BUS there:
its place, how many entries came after that, and how many of these are gone by
now, which it will be told of as lost. In a pipe: a JSON object a host."""
EXAMPLE = "relay redis://10.0.0.1 my-app"

TIMEOUT = 5.0  # seconds
NO_CLIENT = "relay: redis-py is not installed here; python -m pip install redis"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("url", metavar="URL", help="of Redis, as redis://HOST:PORT/DB or rediss://...")
    add("stream", metavar="STREAM", help="its name, as the relays have it")
    about = "forget a host that is gone for good, as HOST/BUS"
    add("--remove", metavar="HOST", help=about)


def main(url: str, stream: str, remove: str | None) -> int:
    """List the hosts, or remove one; 1 if Redis does not answer, or knows nothing of it."""
    try:
        redis: Any = import_module("redis")
    except ImportError:
        raise OSError(NO_CLIENT) from None
    try:
        with _client_of(redis, url) as client:
            try:
                return _run(client, stream, remove)
            except redis.ResponseError as error:
                # It is a node of a cluster; redis-py 6 and later say so by the class.
                if type(error).__name__ != "MovedError" and not str(error).startswith("MOVED"):
                    raise
        with redis.RedisCluster.from_url(url, socket_timeout=TIMEOUT) as cluster:
            return _run(cluster, stream, remove)
    except redis.RedisError as error:
        raise OSError(f"relay: {type(error).__name__}: {harmless(str(error))}") from error


def _client_of(redis: Any, url: str) -> Any:
    try:
        client = redis.Redis.from_url(url, socket_timeout=TIMEOUT)
        client.connection_pool.make_connection()  # which is not connected yet
    except TypeError as error:  # what stands behind the `?` is handed over as it is
        raise ValueError(f"relay: the URL has what no client takes: {error}") from None
    return client


def _run(client: Any, stream: str, remove: str | None) -> int:
    if remove is not None:
        return _remove(client, stream, remove)
    if not client.exists(stream):
        raise OSError(f"no stream {stream!r} there; it is made by the first relay, or post")
    about = client.xinfo_stream(stream)
    rows = [_row(about, group) for group in client.xinfo_groups(stream)]
    terminal = Terminal(sys.stdout)
    if not terminal.is_live:
        for row in rows:
            terminal.line(json_of(row))
        return 0
    last = _text(about["last-generated-id"])
    terminal.line(f"stream {harmless(stream)}, {about['length']:,} entries, the last {last}")
    width = max([len("host"), *(len(harmless(row["host"])) for row in rows)])
    columns = f"{'host':<{width}}  {'behind':>10} {'gone':>10}  place"
    terminal.line(terminal.paint(columns, "dim"))
    for row in rows:
        behind, gone = _number(row["behind"]), _number(row["gone"])
        line = f"{harmless(row['host']):<{width}}  {behind:>10} {gone:>10}  {row['place']}"
        terminal.line(terminal.paint(line, "red" if row["gone"] else ""))
    return 0


def _remove(client: Any, stream: str, group: str) -> int:
    if not (client.exists(stream) and client.xgroup_destroy(stream, group)):
        raise OSError(f"no host {group!r} in stream {stream!r}")
    say(f"{harmless(group)}: removed")
    return 0


def _row(about: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """None for what Redis does not know, as it is before 7.0, and after deletions."""
    added, read = about.get("entries-added"), group.get("entries-read")
    gone = None if added is None or read is None else max(0, added - about["length"] - read)
    place = _text(group["last-delivered-id"])
    if place == _text(about["last-generated-id"]):
        gone = 0
    return {
        "host": _text(group["name"]),
        "behind": group.get("lag"),
        "gone": gone,
        "place": place,
    }


def _text(value: bytes | str) -> str:
    """Of a URL with `decode_responses` it is text already."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
