"""What all workers of a bus do together, as calls of `Bus`: wait for them, lead them."""

from __future__ import annotations

from .._names import check_names, check_text
from . import leading, settings, waiting
from .asking import Asking
from .callbacks import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .._types import Answer
    from .asking import Reply
    from .life import Life

    Answerer = TypeVar("Answerer", bound=Callable[..., Any])


def check_event_id(event_id: object) -> None:
    """TypeError unless it is an int."""
    if isinstance(event_id, bool) or not isinstance(event_id, int):
        raise TypeError(f"event_id: {event_id!r} is not an int; give what post returned")


def check_no_poster(life: Life) -> None:
    """StdeventsError for a poster, which would handle nothing of what it asks for here."""
    seat = life.state.seat
    if seat is not None:
        seat.progress_of_worker()


class Together:
    """The calls of a bus that concern all of its workers."""

    _life: Life
    _asking: Asking

    def wait(self, event_id: int, timeout: float = 1.0) -> bool:
        """Wait until every live worker's handlers for the event have returned, here as well.

        `event_id` is what `post` returned, here or elsewhere. True when all are done with it, the
        tasks of coroutine handlers too; False if some are not after `timeout` seconds: `workers()`
        shows who is behind. A worker that dies or leaves meanwhile does not count, nor does one
        that joined after the event; one that is stopped does. One that lost the event counts as
        done: it has been told of the loss. So what handlers do, as dropping a stale entry, is done
        in all workers when this returns True.

        Where no loop runs (`interval=0`), it polls for its own process: handlers run in here, and
        may take longer than `timeout`. Else it sleeps. A poster may call it. On an event loop
        await `AsyncBus.wait`: this call would keep its tasks from ending.

        TypeError for an id that is no int, or a `timeout` that is no number of seconds; ValueError
        for an id that no event has, or a `timeout` out of range; StdeventsError in a handler, which
        would wait for itself, and in a signal handler that interrupted a call which holds the lock;
        SegmentError where the bus was removed meanwhile; LockTimeout; NotConfigured.
        """
        check_event_id(event_id)
        return waiting.wait(self._life, event_id, settings.duration("timeout", timeout))

    def lead(self, task: str, give_up: bool = False) -> bool:
        """Is this worker the leader of `task`, a name? It takes the lead if nobody has it.

        At most one worker is; ask before each piece of work that only one may do. It stays the
        leader until its process dies or execs, it closes the bus, or it calls
        `lead(task, give_up=True)`, which returns False; then the next worker that asks leads. A
        forked child does not inherit the lead. A leader that is stopped (SIGSTOP, a debugger) stays
        the leader. If the bus is removed under it, another may lead on the new one; the old leader
        learns of it at its next call. While it leads, a call costs two system calls.

        False for a listener. TypeError or ValueError for a `task` that is no str, or empty;
        StdeventsError for a poster, and in a signal handler that interrupted a call which holds
        the lock; SegmentError where the file of the task cannot be opened, as by a process that
        has changed its user since, or does not see the bus any more (chroot); LockTimeout;
        NotConfigured.
        """
        task = check_text("task", task)
        self._life.check_not_nested("lead")
        return self._life.use(leading.lead, task, give_up)

    def ask(
        self, source: str, event: str, data: Any = None, timeout: float = 1.0
    ) -> dict[int, Answer]:
        """Ask every live worker, this one included, and return their answers by slot, in order.

        Each worker's answerer for `source` and `event` (see `answer`) is called with `data`, as one
        of its handlers; what it returns is the `value` of its `Answer`. There is one for every
        worker that was alive when asked and did not die before it answered. It has an `error` if
        that worker has no answerer, failed, was interrupted, or did not answer within `timeout`
        seconds, or if its answer was too large for the ring or was overwritten before it was read
        here. Listeners and posters are not asked; a poster may ask.

        The question and its answers are events, `asked` and `answered` of source "stdevents"; the
        answers are handled by the asker alone. Where no loop runs (`interval=0`), it polls for its
        own process: handlers run in here, and may take longer than `timeout`.

        Raises what `post` does, as EncodeError and PayloadTooLarge; TypeError or ValueError for a
        bad `timeout`; StdeventsError in a handler, which would wait for itself, and in a signal
        handler that interrupted a call which holds the lock; SegmentError where the bus was removed
        meanwhile.
        """
        source, event = check_names(source, event)
        return self._asking.ask(source, event, data, settings.duration("timeout", timeout))

    def answer(self, source: str, event: str) -> Callable[[Answerer], Answerer]:
        """Have the decorated function answer in this worker: what it returns is the answer.

        It is called as a handler is, `callback(data, event, source, pid)`, with the data of the
        question and the pid of the asker; it returns anything that is JSON. An exception in it is
        logged and counted, and told to the asker by its type alone. The bus need not be open; a
        forked child has its parent's answerers.

        TypeError or ValueError for a bad source or event; TypeError for what cannot take four
        arguments, and for a coroutine function (see `stdevents.aio`); ValueError where these names
        have an answerer; StdeventsError for a poster.
        """
        source, event = check_names(source, event)
        check_no_poster(self._life)

        def register(callback: Answerer) -> Answerer:
            check(callback)
            handlers = self._life.handlers

            def answer(reply: Reply, data: Any, event: str, source: str, pid: int | None) -> None:
                value = callback(data, event, source, pid)
                handlers.refuse(value)
                reply.give(value)

            self._asking.add(source, event, answer)
            return callback

        return register


def asking_of(bus: Together) -> Asking:
    """The questions and answerers of a bus, for asyncio."""
    return bus._asking
