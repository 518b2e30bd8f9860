"""Waiting for the stream, on a connection of its own, a little at a time.

Redis is asked once for what comes next, and answers when it comes, or after a while. The thread
looks for that answer for a fraction of a second, and again: in between it can be ended, as for a
fork, and a Redis that has fallen silent is noticed, whatever timeout the client has.
"""

from __future__ import annotations

from typing import Any

from .._system.clock import monotonic

ANSWER = 2.5  # seconds, after which Redis answers that nothing has come
LATE = 1.0  # seconds more, after which it is taken to be away


class Waiter:
    """Waits for what follows a place in one stream; its methods raise what the client raises."""

    def __init__(self, client: Any, stream: bytes) -> None:
        self._client = client
        self._stream = stream
        self._own: Any = None  # a client with one connection
        self._until = 0.0  # when the answer is due, on the clock
        #: the place that Redis was asked about, and has not answered for; None: nothing was asked
        self.asked: str | None = None

    def wait(self, place: str, seconds: float) -> bool | None:
        """Has something come after a place? None: there was no answer yet, for so many seconds."""
        if self.asked != place:
            self._ask(place)
        connection = self._own.connection
        if not connection.can_read(seconds):
            if monotonic() < self._until:
                return None
            self.leave()
            raise TimeoutError(f"no answer in {ANSWER + LATE} s")
        self.asked = None
        return bool(self._own.parse_response(connection, "XREAD"))

    def _ask(self, place: str) -> None:
        if self.asked is not None:
            self.leave()
        if self._own is None:
            self._own = self._new_client()
        arguments = "COUNT", 1, "BLOCK", int(ANSWER * 1000), "STREAMS", self._stream, place
        self._own.connection.send_command("XREAD", *arguments)
        self._until = monotonic() + ANSWER + LATE
        self.asked = place

    def _new_client(self) -> Any:
        client = self._client
        node_of = getattr(client, "get_node_from_key", None)
        if node_of is not None:  # a cluster: only the node that has the stream can be asked
            client = client.get_redis_connection(node_of(self._stream))
        return client.client()

    def leave(self) -> None:
        """Give the connection back; an answer that was asked for is not waited for."""
        own, self._own, self.asked = self._own, None, None
        if own is not None:
            if own.connection is not None:
                own.connection.disconnect()
            own.close()

    def forked(self) -> None:
        """In a forked child: the connection is its parent's."""
        self._own = self.asked = None
