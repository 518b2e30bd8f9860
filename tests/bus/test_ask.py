"""`ask` and `answer`: the answers of all live workers come back, or why there is none."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from functools import partial

import pytest
from children import fork_in_c, in_c, threads_are_ours
from inside import ask_who_lives_after, recover, remove_folder, remove_memory
from steps import die
from waiting import LONG, wait_until_in

import stdevents

PATIENT = LONG / 3


def live(parent, name, **options):
    """Be a worker with answerers and a loop, until it hears "leave"; what its stats were."""
    logging.getLogger("stdevents").setLevel(logging.CRITICAL)
    bus, passed_on = stdevents.Bus(), queue.Queue()

    @bus.answer("test", "who")
    def who(data, event, source, pid):
        return {"pid": os.getpid(), "data": data, "asker": pid, "event": event, "source": source}

    @bus.answer("test", "fail")
    def fail(data, event, source, pid):
        raise KeyError(data)

    @bus.answer("test", "large")
    def large(data, event, source, pid):
        return "x" * data

    @bus.answer("test", "not JSON")
    def not_json(data, event, source, pid):
        return {data}

    @bus.answer("test", "die")
    def kill_itself(data, event, source, pid):
        die()

    @bus.answer("test", "interrupted")
    def interrupted(data, event, source, pid):
        raise KeyboardInterrupt

    @bus.answer("test", "slow")
    def tell_and_hear(data, event, source, pid):
        parent.tell("in the answerer")
        is_main = threading.current_thread() is threading.main_thread()
        return parent.hear() if is_main else passed_on.get()

    seen = []
    bus.register(lambda data, event, source, pid: seen.append((source, event)))
    with contextlib.closing(bus.configure(name, **options)):
        parent.tell("open")
        while True:
            heard = parent.hear()
            if heard == "leave":
                return
            if heard == "poll":
                parent.tell(bus.poll())
            elif heard == "stats":
                parent.tell((bus.stats(), seen))
            else:
                passed_on.put(heard)


@pytest.fixture
def worker(worker_living):
    """`worker()` is another worker, that answers."""
    return partial(worker_living, live)


@pytest.fixture
def asker(opens):
    """`asker()` is a bus of this process."""
    return opens


each_interval = pytest.mark.parametrize("interval", [0, 1])


class Ask(threading.Thread):
    """A question that is asked in a thread."""

    def __init__(self, bus, *question, timeout=PATIENT):
        super().__init__(daemon=True)
        self.bus, self.question, self.timeout = bus, question, timeout
        self.outcome = None
        self.start()

    def run(self):
        try:
            self.outcome = self.bus.ask(*self.question, None, self.timeout)
        except stdevents.StdeventsError as error:
            self.outcome = error

    def result(self):
        self.join(2 * PATIENT)
        assert not self.is_alive()
        return self.outcome


# -- answers ---------------------------------------------------------------------------------------


@each_interval
def test_every_worker_answers_in_the_order_of_the_slots(worker, asker, interval):
    """DESIGN 3: the asker, too."""
    children = [worker(), worker()]
    bus = asker(interval=interval)
    bus.answer("test", "who")(lambda data, *_: data)
    found = bus.ask("test", "who", ["é", {"a": None}], PATIENT)
    assert list(found) == [0, 1, 2]
    assert [one.pid for one in found.values()] == [*[child.pid for child in children], os.getpid()]
    assert all(one.error is None for one in found.values())
    assert found[2].value == ["é", {"a": None}]
    assert found[0].value == {
        "pid": children[0].pid,
        "data": ["é", {"a": None}],
        "asker": os.getpid(),
        "event": "who",
        "source": "test",
    }


@each_interval
def test_who_has_no_answerer_is_there_with_its_error(worker, asker, interval):
    child = worker()
    bus = asker(interval=interval)
    found = bus.ask("test", "who", None, PATIENT)
    assert [(one.pid, one.error) for one in found.values()] == [
        (child.pid, None),
        (os.getpid(), "it has no answerer for this"),
    ]


def test_none_is_an_answer(bus):
    bus.answer("test", "nothing")(lambda *_: None)
    assert bus.ask("test", "nothing") == {0: (os.getpid(), None, None)}


def test_an_answerer_that_fails_is_told_without_the_payload(worker, asker, caplog):
    """G6: it is logged and counted where it happened."""
    child = worker()
    bus = asker(interval=0)

    @bus.answer("test", "fail")
    def fail(data, event, source, pid):
        raise ValueError("secret")

    found = bus.ask("test", "fail", "secret", PATIENT)
    assert found[0] == (child.pid, None, "its answerer failed: KeyError; see its log")
    assert found[1] == (os.getpid(), None, "its answerer failed: ValueError; see its log")
    assert bus.stats().handler_errors == 1
    assert "event callback failed; source=test, event=fail" in caplog.text
    child.say("stats")
    assert child.hear()[0].handler_errors == 1


@pytest.mark.parametrize(
    ("event", "data", "error"),
    [
        ("not JSON", 1, "its answer is not JSON; see its log"),
        ("large", 4096, "its answer is too large: "),
    ],
)
def test_an_answer_that_cannot_be_given_says_why(worker, asker, event, data, error):
    child = worker(size=4096)
    bus = asker(interval=0)
    found = bus.ask("test", event, data, PATIENT)
    assert found[0].pid == child.pid and found[0].value is None
    assert found[0].error.startswith(error)


def test_an_answer_wakes_the_asker(name, asker, monkeypatch):
    """Which the bell does not, where the answer is its own process's."""
    ask_who_lives_after(monkeypatch, 10 * LONG)
    bus, begun = asker(), threading.Event()

    @bus.answer("test", "who")
    def answer_who_sleeps(data, event, source, pid):
        begun.wait(PATIENT)
        wait_until_in(asking, "sleep")
        return 1

    asking = Ask(bus, "test", "who", timeout=10 * LONG)
    begun.set()
    assert asking.result()[0].value == 1


@each_interval
def test_who_does_not_answer_in_time_is_there_with_its_error(worker, asker, interval):
    """The answers of the others are there."""
    slow, child = worker(), worker()
    bus = asker(interval=interval)
    Ask(bus, "test", "slow")
    assert slow.hear() == child.hear() == "in the answerer"
    child.say("mine")
    found = bus.ask("test", "who", None, 0.3)
    assert [one.error for one in found.values()][0] == "no answer within 0.3 s"
    assert found[1].value["pid"] == child.pid
    slow.say("late")


def test_an_answer_that_comes_too_late_is_dropped(worker, asker, caplog):
    """Silently, and no later question gets it."""
    slow = worker()
    bus = asker(interval=0)
    assert bus.ask("test", "slow", None, 0)[0].error == "no answer within 0 s"
    assert slow.hear() == "in the answerer"
    slow.say("late")
    found = bus.ask("test", "who", None, PATIENT)
    assert found[0].value["pid"] == slow.pid
    assert caplog.messages == []


@pytest.mark.parametrize("how", ["in its answerer", "while it is asked"])
def test_a_worker_that_dies_is_not_there(worker, asker, how):
    """G5: nor is it waited for."""
    victim, child = worker(), worker(interval=0)
    bus = asker()
    if how == "in its answerer":
        asking = Ask(bus, "test", "die")
        victim.wait()
        child.kill()
        assert [one.pid for one in asking.result().values()] == [os.getpid()]
    else:
        asking = Ask(bus, "test", "slow")
        assert victim.hear() == "in the answerer"
        victim.kill()
        child.say("poll")
        assert child.hear() == "in the answerer"
        child.say("mine")
        found = asking.result()
        assert [one.pid for one in found.values()] == [child.pid, os.getpid()]
        assert found[1].value == "mine"
        assert child.hear() == "done"


def test_what_killed_workers_left_is_not_asked(worker, asker):
    dead = worker()
    bus = asker(interval=0)
    dead.kill()
    assert [one.pid for one in bus.ask("test", "who", None, 0).values()] == [os.getpid()]
    assert [one.pid for one in bus.ask("test", "who", None, PATIENT).values()] == [os.getpid()]


@threads_are_ours
def test_a_worker_that_joins_after_the_question_is_not_there(worker, asker):
    slow = worker()
    bus = asker()
    asking = Ask(bus, "test", "slow")
    assert slow.hear() == "in the answerer"
    later = worker(start="oldest", interval=0)
    later.say("poll")
    assert later.hear() == "in the answerer"
    later.say("not asked")
    assert later.hear() == "done"
    slow.say("mine")
    assert [one.pid for one in asking.result().values()] == [slow.pid, os.getpid()]


def test_a_listener_is_not_asked(worker, asker):
    listener = worker(role="listener", interval=0)
    bus = asker(interval=0)
    assert [one.pid for one in bus.ask("test", "who", None, PATIENT).values()] == [os.getpid()]
    listener.say("poll")
    assert listener.hear() == "done"
    listener.say("stats")
    assert ("stdevents", "asked") in listener.hear()[1]
    assert bus.stats().last_id == 4, "2 started, the question, and one answer"


def test_an_answer_that_the_asker_was_lapped_on_is_told_to_be_lost(worker, asker):
    """Long before the time is up."""
    child = worker(interval=0, size=2048)
    bus = asker(interval=0, size=2048)

    @bus.answer("test", "who")
    def be_lapped(data, event, source, pid):
        child.say("poll")
        assert child.hear() == "done"
        for _ in range(20):
            bus.post("test", "event", "x" * 100)

    found = bus.ask("test", "who", None, PATIENT)
    assert found[0].error.startswith("its answer is lost: ")
    assert bus.stats().lost > 0


def test_an_answerer_that_was_interrupted_gives_none_and_the_asker_is_told(worker, asker):
    """Not that its answer was overwritten: a larger ring would help nobody."""
    child = worker()
    bus = asker(interval=0)
    found = bus.ask("test", "interrupted", None, PATIENT)
    assert [one.pid for one in found.values()] == [child.pid, os.getpid()]
    assert "its answerer was interrupted" in found[0].error


def test_a_poster_asks_and_is_not_asked(worker, asker):
    children = [worker(), worker()]
    bus = asker(role="poster")
    found = bus.ask("test", "who", 1, PATIENT)
    assert [one.value["pid"] for one in found.values()] == [child.pid for child in children]
    assert bus.ask("no", "such", 1, PATIENT)[0].error == "it has no answerer for this"


def test_a_poster_that_is_lapped_is_told_so(worker, asker):
    child = worker(size=2048)
    bus = asker(role="poster")
    asking = Ask(bus, "test", "slow")
    assert child.hear() == "in the answerer"
    for _ in range(20):
        bus.post("test", "event", "x" * 100)
    child.say("mine")
    assert asking.result()[0].value == "mine", "what came before it is no loss"


def test_two_ask_at_once(worker, asker):
    """Each gets its own answers: of threads of one process."""
    child = worker()
    bus = asker()
    bus.answer("test", "who")(lambda data, *_: data)
    first = Ask(bus, "test", "slow")
    assert child.hear() == "in the answerer"
    second = Ask(bus, "test", "who")
    wait_until_in(second, "sleep")
    child.say("mine")
    assert first.result()[0].value == "mine"
    assert second.result()[0].value["pid"] == child.pid


def test_an_asker_that_dies_costs_the_others_nothing(worker, asker, name, fork, buses):
    slow = worker()
    bus = asker()

    def ask(parent):
        for mine in buses:
            mine.close()
        with contextlib.closing(stdevents.Bus(name, interval=0)) as other:
            other.ask("test", "slow", None, PATIENT)

    dying = fork(ask)
    assert slow.hear() == "in the answerer"
    dying.kill()
    slow.say("for nobody")
    assert bus.ask("test", "who", None, PATIENT)[0].value["pid"] == slow.pid


# -- what others see of it -------------------------------------------------------------------------


def test_answers_are_handled_by_the_asker_alone(worker, asker):
    """They are no events of the others': not handled, not counted, not given to handlers."""
    other = worker(interval=0)
    bus = asker(interval=0)
    seen = []
    bus.register(lambda data, event, source, pid: seen.append((event, data)), "stdevents")
    bus.answer("test", "who")(lambda *_: "mine")
    other.say("stats")
    before_it = other.hear()[0].handled
    bus.ask("test", "who", None, 0)
    other.say("poll")
    assert other.hear() == "done"
    assert bus.poll() == "done"
    assert [event for event, _ in seen] == ["started", "asked", "answered"], "one came too late"
    bus.ask("test", "who", None, 0)
    other.say("poll")
    assert other.hear() == "done"
    other.say("stats")
    stats, others = other.hear()
    assert others[-2:] == [("stdevents", "asked")] * 2
    assert stats.handled == before_it + 4, "twice started, and two questions"
    assert stats.lag == 0


def test_a_handler_of_every_event_sees_what_question_and_answer_are(bus, seen):
    bus.answer("test", "who")(lambda data, *_: [data])
    assert bus.ask("test", "who", 7)[0].value == [7]
    assert [(source, event) for source, event, _ in seen] == [
        ("stdevents", "asked"),
        ("stdevents", "answered"),
    ]
    question, answer = seen[0][2], seen[1][2]
    number = question.pop("question")
    assert question == {"source": "test", "event": "who", "data": 7}
    assert answer == f"[{number},0,1,null,[7]]"


def test_events_like_those_that_are_none_do_no_harm(bus, seen, caplog):
    """Anybody may post what looks like a question, or an answer."""
    odd = [None, 1, "x", "[1,2", "[x,", [], {}, {"question": None, "source": [], "event": {}}]
    for data in odd:
        bus.post("stdevents", "asked", data)
        bus.post("stdevents", "answered", data)
    bus.post_local("stdevents", "asked", {"question": 1, "source": "a", "event": "b", "data": 1})
    bus.post_local("stdevents", "answered", "[1,2]")
    bus.poll()
    assert len([event for _, event, _ in seen if event == "asked"]) == len(odd) + 1
    assert caplog.messages == []
    assert bus.stats().handler_errors == 0


# -- forks -----------------------------------------------------------------------------------------


def test_a_forked_child_has_its_parents_answerers(bus, fork):
    """G7."""
    bus.answer("test", "who")(lambda *_: os.getpid())

    def work(parent):
        bus.poll()
        parent.tell()
        parent.hear()
        bus.poll()

    child = fork(work)
    child.hear()
    asking = Ask(bus, "test", "who")
    wait_until_in(asking, "sleep")
    child.say()
    assert [one.value for one in asking.result().values()] == [os.getpid(), child.pid]


def test_a_child_that_is_forked_meanwhile_does_not_hear_the_answers(bus, fork):
    """G7: the answers are not for it, nor does it answer for its parent."""

    @bus.answer("test", "who")
    def fork_in_it(data, event, source, pid):
        child.append(fork(lambda parent: (bus.poll(), bus.stats().handled)[1]))
        return os.getpid()

    child = []
    assert bus.ask("test", "who", None, PATIENT) == {0: (os.getpid(), os.getpid(), None)}
    assert child[0].result() == 1, "its own started, and not the answer"


def test_a_child_of_a_handler_of_the_question_does_not_answer(bus, name, fork):
    """G7: the question is its parent's, also if it is a worker of its own by then."""

    def work(parent):
        bus.close()
        mine, me = stdevents.Bus(name, interval=0), os.getpid()

        @mine.on("stdevents", "asked")
        def fork_in_it(data, event, source, pid):
            if not os.fork():
                mine.post("test", "arrived")

        mine.answer("test", "who")(lambda *_: os.getpid())
        found = mine.ask("test", "who", None, 0)
        if os.getpid() != me:
            os._exit(0)
        os.wait()
        assert found[1] == (me, me, None)
        return

    fork(work).result()
    assert bus.stats().last_id == len(["started"] * 3 + ["asked", "arrived", "answered"])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("fork_again", [os.fork, pytest.param(fork_in_c, marks=in_c)])
def test_a_child_that_its_answerer_forks_does_not_answer(bus, name, fork, fork_again, fails):
    """G7: the question is its parent's, whose slot the answer would have."""

    def work(parent):
        bus.close()
        logging.getLogger("stdevents").setLevel(logging.CRITICAL)
        mine, me = stdevents.Bus(name, interval=0), os.getpid()

        @mine.answer("test", "who")
        def fork_in_it(data, event, source, pid):
            child = fork_again()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                return "the parent's"
            if fails:
                raise LookupError
            return "the child's"

        parent.tell()
        parent.hear()
        mine.poll()
        if os.getpid() != me:
            os._exit(0)
        mine.close()

    child, answers = fork(work), []
    bus.register(lambda data, *_: answers.append(data), "stdevents", "answered")
    bus.answer("test", "who")(lambda *_: "mine")
    child.hear()
    asking = Ask(bus, "test", "who")
    wait_until_in(asking, "sleep")
    child.say()
    assert [one.value for one in asking.result().values()] == ["mine", "the parent's"]
    child.result()
    assert len(answers) == 2


# -- the calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["ask", "wait"])
def test_in_a_handler_it_would_wait_for_itself(bus, call):
    errors = []

    @bus.on("test")
    def ask(data, event, source, pid):
        with pytest.raises(stdevents.StdeventsError, match="its own end") as caught:
            bus.ask("test", "who") if call == "ask" else bus.wait(1)
        errors.append(caught.value)

    bus.post("test", "event")
    bus.poll()
    assert len(errors) == 1


def test_in_an_answerer_it_would_wait_for_itself(bus):
    bus.answer("test", "who")(lambda *_: bus.ask("test", "who"))
    error = "its answerer failed: StdeventsError; see its log"
    assert bus.ask("test", "who")[0].error == error


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (("", "event"), ValueError, "source"),
        (("test", 1), TypeError, "event"),
        (("test", "event", {1}), stdevents.EncodeError, "source 'test'"),
        (("test", "event", "x" * 2**21), stdevents.PayloadTooLarge, "bytes"),
        (("test", "event", None, -1), ValueError, "timeout"),
        (("test", "event", None, None), TypeError, "timeout"),
    ],
)
def test_what_it_is_given_is_checked(bus, seen, arguments, error, named):
    with pytest.raises(error, match=named):
        bus.ask(*arguments)
    bus.poll()
    assert seen == []


@pytest.mark.parametrize(("source", "event"), [("", "event"), ("test", None)])
def test_a_bad_name_of_a_question_is_refused(bus, source, event):
    with pytest.raises((TypeError, ValueError)):
        bus.answer(source, event)


def test_there_is_one_answerer_for_a_question(bus):
    bus.answer("test", "who")(lambda *_: 1)
    with pytest.raises(ValueError, match="already"):
        bus.answer("test", "who")(lambda *_: 2)
    bus.answer("test", "what")(lambda *_: 2)
    assert bus.ask("test", "who")[0].value == 1


async def coroutine(data, event, source, pid):
    """Not for a plain bus."""


@pytest.mark.parametrize("callback", [1, lambda data: 1, coroutine], ids=["1", "few", "coroutine"])
def test_what_cannot_answer_is_refused(bus, callback):
    with pytest.raises(TypeError):
        bus.answer("test", "who")(callback)
    bus.answer("test", "who")(lambda *_: 1)


def test_a_coroutine_that_an_answerer_returns_is_its_failure(bus, caplog):
    bus.answer("test", "who")(lambda *_: coroutine(1, 2, 3, 4))
    assert bus.ask("test", "who")[0].error == "its answerer failed: TypeError; see its log"


def test_a_poster_cannot_answer(worker, asker):
    worker()
    bus = asker(role="poster")
    with pytest.raises(stdevents.StdeventsError, match="only posts"):
        bus.answer("test", "who")


def test_a_closed_bus_asks_nobody():
    with pytest.raises(stdevents.NotConfigured):
        stdevents.Bus().ask("test", "who")


def test_where_the_bus_is_removed_meanwhile_it_says_so(worker, asker, name):
    child = worker(interval=0)
    bus = asker(interval=0.01)
    asking = Ask(bus, "test", "who")
    wait_until_in(asking, "sleep")
    child.kill()
    remove_folder(name)
    remove_memory(name)
    recover(bus)
    assert "removed while its workers were asked" in str(asking.result())


def test_the_functions_are_the_methods_of_the_process_wide_bus(name):
    @stdevents.answer("test", f"who {name}")
    def who(data, event, source, pid):
        return data

    stdevents.configure(name, interval=0)
    assert stdevents.ask("test", f"who {name}", 1) == {0: stdevents.Answer(os.getpid(), 1, None)}
    stdevents.close()
