"""`ask` and `answer`: a question is an event of the bus, and so is each answer to it.

    asked      {"question": number, "source": …, "event": …, "data": …}
    answered   "[number, slot, serial, error, value]"

Every worker that hears a question answers it, if only that it has no answerer. The data of an
answer is one string that holds JSON, so that those who did not ask do not decode it. An answer is
the asker's, by the number; it is known to be of a worker by the serial, which that keeps when its
process takes another slot.
"""

from __future__ import annotations

import json
import secrets
from functools import partial

from .._errors import EncodeError, NotConfigured, PayloadTooLarge, StdeventsError
from .._log import report
from .._system.clock import monotonic
from .._table.layout import WORKER_SERIAL
from .._table.workers import at
from .._types import Answer
from . import codec, waiting
from .delivery import events
from .overhearing import Log
from .settings import ROLES
from .waiting import Ear, check_may_wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

    from .._protocols import Handler
    from .life import Life
    from .seat import Seat

    # Error and value.
    Given = Tuple[Optional[str], Any]
    Answerer = Callable[["Reply", Any, str, str, Optional[int]], object]
    Answers = Dict[int, Answer]

NUMBERS = 53  # bits, which every reader of JSON can hold
NO_ANSWERER = "it has no answerer for this"
LOST = (
    "its answer is lost: it was overwritten before it was read here, "
    "or its answerer was interrupted, or could not post it"
)


class Reply:
    """What one worker owes to the asker of one question. It is given once, by any thread.

    In a process that its answerer forks it gives nothing: the answer is the parent's.
    """

    def __init__(
        self, life: Life, seat: Seat, number: int, about: tuple[str, str, int | None]
    ) -> None:
        assert seat.slot is not None
        self._life = life
        self._process = life.handlers.process
        self._epoch = seat.epoch
        self._serial: int = seat.words[at(seat.slot) + WORKER_SERIAL]
        self._head = f"[{number},{seat.slot},{self._serial},"
        self._about = about

    def give(self, value: Any) -> None:
        """Answer with this; the error of it where it cannot be posted."""
        source, event, _ = self._about
        try:
            self._post(f"null,{codec.data_text(source, event, value)}]")
        except PayloadTooLarge as error:
            self.refuse(f"its answer is too large: {error.size} bytes, of {error.limit}")
        except EncodeError as error:
            self.fail(error, "its answer is not JSON; see its log")
        except Exception as error:  # of the value's own code, as of a row that is read only now
            self.fail(error)

    def fail(self, error: BaseException, what: str = "") -> None:
        """Log and count the failure of the answerer, and answer with that, without the payload."""
        self._life.handlers.tell_failure(error, *self._about)
        self.refuse(what or f"its answerer failed: {type(error).__name__}; see its log")

    def refuse(self, why: str) -> None:
        """Answer with an error."""
        self._post(f"{json.dumps(why)},null]")

    def _post(self, rest: str) -> None:
        if self._life.handlers.process is not self._process:  # no call: a child may exec soon
            return
        text = self._head + rest
        try:
            self._life.use(self._append, text)
        except PayloadTooLarge:
            raise
        except NotConfigured:  # it has left the bus since
            pass
        except StdeventsError as error:
            report("bus %r: an answer could not be posted: %s", self._life.name, error)

    def _append(self, seat: Seat, text: str) -> None:
        # Else nobody has asked there, or it was a fork in C code, which is noticed here only.
        if seat.epoch == self._epoch and self._life.handlers.process is self._process:
            record = codec.encode(events._source, events.answered, text)
            self._life.polling.append(seat, (record,))


class Question:
    """One question of this process, and what has come of it."""

    def __init__(self, life: Life, ear: Ear) -> None:
        self._life = life
        self._ear = ear
        self.number = secrets.randbits(NUMBERS)
        self._event_id = self._epoch = 0
        self._log: Log | None = None  # where this process is a poster
        #: of the workers that were asked: slot and pid, by serial
        self._asked: dict[int, tuple[int, int]] | None = None
        self._slots: dict[int, int] = {}  # that they have now, by serial
        self._given: dict[int, Given] = {}  # by serial
        self._look_at = 0.0

    def post(self, source: str, event: str, data: Any) -> None:
        """Ask; what `post` raises."""
        codec.encode(source, event, data)  # what is wrong with it is told by these names
        question = {"question": self.number, "source": source, "event": event, "data": data}

        def append(seat: Seat) -> None:
            # Encoded anew for each seat: a forked child is another process than it was.
            record = codec.encode(events._source, events.asked, question)
            self._event_id = self._life.polling.append(seat, (record,))
            self._epoch = seat.epoch
            if seat.slot is None:
                self._log = Log(seat, self._event_id)

        self._life.use(append)

    def take(self, text: str) -> None:
        """Here is an answer to it."""
        try:
            _, _, serial, error, value = json.loads(text)
            self._given[serial] = error, value
        except (ValueError, TypeError, RecursionError):  # not of ours
            return
        self._ear.wake()

    def is_over(self) -> bool:
        """Is there an answer, or will there be none, of all that were asked?"""
        now = monotonic()
        if self._log is not None:
            self._life.use(self._read_log)
        if now >= self._look_at or not self._missing():
            self._look_at = now + waiting.LIVES_EVERY
            self._life.use(self._look, self._missing())
        return not self._missing()

    def may_sleep(self) -> bool:
        """A poster: ask the next post to wake it; False if there is something new already."""
        return self._log is None or self._life.use(self._log.may_sleep)

    def answers(self, timeout: float) -> Answers:
        """What there is: of those who did not answer, and live still, that they did not."""
        missing = self._missing()
        if missing:
            self._life.use(self._look, missing)
        late = f"no answer within {timeout:g} s", None
        found = {}
        for serial, (slot, pid) in (self._asked or {}).items():
            error, value = self._given.get(serial, late)
            found[slot] = Answer(pid, value, error)
        return found

    def _missing(self) -> list[int]:
        """The serials of those that were asked, and have not answered."""
        return [serial for serial in self._asked or () if serial not in self._given]

    def _read_log(self, seat: Seat) -> None:
        self._check(seat)
        assert self._log is not None
        self._log.read(seat, self._overhear)

    def _overhear(self, text: Any) -> None:
        question = question_of(text, self._life.handlers.questions)
        if question is not None:
            question.take(text)

    def _look(self, seat: Seat, doubted: list[int]) -> None:
        """Who is there? Those that are doubted, and have died, are not."""
        self._check(seat)
        slots = [self._slots[serial] for serial in doubted]
        last, rows = seat.table.concerned(self._event_id, slots)
        workers = {
            serial: (slot, pid, done)
            for slot, pid, serial, role, done in rows
            if role == ROLES.index("worker")
        }
        if self._asked is None:
            self._asked = {serial: (slot, pid) for serial, (slot, pid, _) in workers.items()}
        came_to = seat.progress.finished if self._log is None else self._log.through
        for serial in self._missing():
            if serial not in workers:
                del self._asked[serial]  # it has died, or left
                continue
            self._slots[serial], _, done = workers[serial]
            if done and came_to >= last and self._slots[serial] in slots:
                # Its answer was posted before it was done, and all that was posted is read.
                self._given.setdefault(serial, (LOST, None))

    def _check(self, seat: Seat) -> None:
        waiting.check_bus(seat, self._epoch, "its workers were asked", "ask again")


def question_of(text: Any, questions: dict[int, Question]) -> Question | None:
    """The question of this process that this data of an answer belongs to, if any."""
    if not questions or not isinstance(text, str):
        return None
    number, comma, _ = text[1:].partition(",")
    try:
        return questions.get(int(number)) if comma else None
    except ValueError:
        return None


class Asking:
    """The questions and the answerers of one bus in this process."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._handlers = life.handlers
        self._answerers: dict[tuple[str, str], Answerer] = {}
        own = life.handlers.own
        own[events._source, events.asked] = lambda handler: partial(self._hear_question, handler)
        own[events._source, events.answered] = lambda handler: partial(self._hear_answer, handler)
        life.handlers.concerns[events._source, events.answered] = self._is_for_us

    def add(self, source: str, event: str, answerer: Answerer) -> None:
        """Have it answer such questions; ValueError if there is one."""
        if self._answerers.setdefault((source, event), answerer) is not answerer:
            raise ValueError(
                f"answer: there is an answerer for event {event!r} of source {source!r} already; "
                "a worker gives one answer"
            )

    def ask(self, source: str, event: str, data: Any, timeout: float) -> Answers:
        """As `Together.ask`, of checked arguments."""
        deadline = monotonic() + timeout
        check_may_wait(self._life, "ask")
        ear, polling = Ear(self._life), self._life.polling
        question = self.begin(ear)

        def may_sleep(polls: bool) -> bool:
            return (not polls or polling.may_sleep()) and question.may_sleep()

        try:
            question.post(source, event, data)
            waiting.until(self._life, ear, deadline, question.is_over, may_sleep)
            return question.answers(timeout)
        finally:
            self.end(question)
            ear.close()

    def begin(self, ear: Ear) -> Question:
        """A question, of which answers are heard from now on."""
        question = Question(self._life, ear)
        self._handlers.questions[question.number] = question
        return question

    def end(self, question: Question) -> None:
        """What is answered from now on is too late."""
        self._handlers.questions.pop(question.number, None)

    # -- as handlers -------------------------------------------------------------------------------

    def _hear_question(
        self, handler: Handler | None, data: Any, event: str, source: str, pid: int | None, /
    ) -> None:
        process = self._handlers.process
        if handler is not None:
            self._handlers.call(handler, data, event, source, pid)
        seat = self._life.state.seat
        if pid is None or seat is None or seat.slot is None or seat.settings.role != "worker":
            return
        try:
            number, source, event = data["question"], data["source"], data["event"]
            answerer = self._answerers.get((source, event))
            reply = Reply(self._life, seat, int(number), (source, event, pid))
            question = data["data"]
        except (TypeError, KeyError, ValueError):  # not of ours
            return
        if self._handlers.process is not process:  # a fork by the handler: it is its parent's
            return
        if answerer is None:
            reply.refuse(NO_ANSWERER)
            return
        try:
            answerer(reply, question, event, source, pid)
        except Exception as error:
            reply.fail(error)

    def _hear_answer(
        self, handler: Handler | None, data: Any, event: str, source: str, pid: int | None, /
    ) -> None:
        question = question_of(data, self._handlers.questions)
        if question is not None:
            question.take(data)
            if handler is not None:
                self._handlers.call(handler, data, event, source, pid)

    def _is_for_us(self, data: Any) -> bool:
        return question_of(data, self._handlers.questions) is not None
