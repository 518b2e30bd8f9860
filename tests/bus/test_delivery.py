"""Delivery: what handlers are called for, in which order, and what a worker says of itself."""

from __future__ import annotations

import threading

import pytest
from inside import encode_relayed
from inside_log import (
    Delivery,
    Ground,
    Progress,
    codec,
    fence,
    handlers,
    layout,
    look_through,
    process,
    workers,
)
from steps import at, at_each, with_steps

from stdevents import LockTimeout, SegmentError

COMMON = "s", "e"
WANTED = "s", "wanted"


class Settings:
    """As far as a delivery asks."""

    timeout = 2.0

    def __init__(self, role):
        self.role = role


class Worker:
    """One that is polled by hand, and notes what its handlers get."""

    def __init__(self, ground, slot=0, takes_unique=True, progress=None, listens=True):
        self.ground = ground
        self.table = ground.table()
        self.handlers = handlers.Handlers()
        self.mark = process.Mark()
        self.slot = slot
        self.progress = progress or Progress(self.table.last)
        self.progress.serial = ground.join(slot)
        self.delivery = Delivery(
            self.table,
            slot,
            self.handlers,
            self.progress,
            Settings("worker" if takes_unique else "listener"),
            self.mark,
        )
        self.seen = []
        if listens:
            self.on(self.note)

    def on(self, callback, *level):
        self.handlers.add(callback, handlers.levels(level[0] if level else None, level[1:]), False)

    def note(self, data, event, source, pid):
        self.seen.append((event, data["first"], data["last"]) if event == "lost" else data)

    def post(self, data, event="e", unique=None):
        return self.table.append((codec.encode("s", event, data, unique),))

    def poll(self):
        self.delivery.handle_rounds()
        seen, self.seen[:] = list(self.seen), []
        return seen

    def word(self, which):
        return self.ground.words[workers.at(self.slot) + which]

    @property
    def counts(self):
        return self.progress.handled, self.progress.lost, self.progress.ignored


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path, 1 << 16)


@pytest.fixture
def worker(ground):
    return Worker(ground)


# -- order and progress ----------------------------------------------------------------------------


def test_events_come_in_order_and_are_counted(worker):
    for number in range(500):
        worker.post(number)
    assert worker.poll() == list(range(500))
    assert worker.counts == (500, 0, 0)
    assert worker.word(layout.WORKER_POSITION) == worker.word(layout.WORKER_DONE) == 500


def test_position_is_stored_before_its_handlers_and_done_at_the_end(worker):
    seen = []
    worker.on(
        lambda *_: seen.append(
            [worker.word(layout.WORKER_POSITION), worker.word(layout.WORKER_DONE)]
        ),
        *COMMON,
    )
    for number in range(3):
        worker.post(number)
    worker.poll()
    assert seen == [[1, 0], [2, 0], [3, 0]]
    assert worker.word(layout.WORKER_DONE) == 3


def test_events_without_a_handler_are_taken_too(ground):
    worker = Worker(ground, listens=False)
    seen = []
    progress = worker.progress
    worker.on(lambda data, *_: seen.append((data, progress.handled, progress.unhandled)), *WANTED)
    for number in range(10):
        worker.post(number, "wanted" if number == 4 else "other")
    worker.poll()
    assert seen == [(4, 1, 4)]
    assert worker.counts == (1, 0, 0)
    assert progress.unhandled == 9


NAMES = [
    ["wanted", "a", "b", "a", "a", "wanted", "wanted", "b"],
    ["a", "b", "once", "wanted", "once", "once", "a", "wanted"],
    ["a", "registers", "late", "late", "b", "wanted", "late"],
    ["wanted", "a", "none of ours", "b", "wanted"],
    ["a", "wanted", "a", "none of ours", "a", "wanted"],
    ["a", "a", "a"],
]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
@pytest.mark.parametrize("each", [1, 2, 3, 8])
@pytest.mark.parametrize("names", NAMES, ids=" ".join)
def test_a_handler_is_told_exactly_how_many_had_none(ground, names, each, level, caplog):
    """In whatever order they come, with `unique` among them, in polls of so many."""
    caplog.set_level(level, "stdevents")
    worker, seen, expected = Worker(ground, listens=False), [], []
    progress = worker.progress

    def note(*_):
        seen.append((progress.position, progress.handled, progress.unhandled))

    def registers(*_):
        note()
        worker.on(note, "s", "late")

    worker.on(note, *WANTED)
    worker.on(registers, "s", "registers")
    wanted, handled, unhandled = {"wanted", "registers"}, 0, 0
    for number, name in enumerate(names, 1):
        if name == "none of ours":
            worker.table.append((b"[],",))
        else:
            worker.post(None, name, unique=str(number) if name == "once" else None)
        if name in wanted:
            handled += 1
            expected.append((number, handled, unhandled))
        else:
            unhandled += name != "none of ours"
        if name == "registers":
            wanted.add("late")
        if not number % each:
            worker.poll()
    worker.poll()
    assert seen == expected
    assert (progress.handled, progress.unhandled) == (handled, unhandled)


def test_what_was_told_in_the_middle_of_another_look_is_the_least(watchdog):
    """A signal handler looks between any two steps of a look of its own thread."""
    progress, told = Progress(0), []

    def handle_and_look():
        progress.position += 1
        told.append(progress.handled)

    for at_step in at_each(handle_and_look):
        with_steps(lambda: progress.handled, at_step, opcodes=True)
        progress.unhandled += 1  # and the position has not gone beyond it yet
        assert progress.handled == len(told)
        progress.position += 1


def test_an_onlooker_is_told_of_what_had_no_handler_and_of_what_was_lost(ground):
    """In the worker's slot, in words whose lower part stays as it was."""
    worker = Worker(ground, listens=False, takes_unique=False)
    since = worker.word(layout.WORKER_SINCE)
    for number in range(2 * ground.layout.events):
        worker.post(number, "x" * 200)
    worker.poll()
    progress = worker.progress
    assert progress.lost > ground.layout.events
    counts = workers.counts_of(ground.words, worker.slot)
    assert counts == (progress.unhandled, progress.lost)
    assert workers.since_of(worker.word(layout.WORKER_SINCE)) == since
    assert workers.role_of(worker.word(layout.WORKER_ROLE)) == 0
    assert workers.table(ground.words)[0][3:5] == (since, 0)


def test_an_event_is_done_when_its_tasks_are(worker):
    """An AsyncBus, whose coroutines go on after the poll."""
    worker.delivery.standing.expect_tasks()
    tasks, task = worker.delivery.handlers.tasks, object()
    worker.on(lambda *_: tasks.begin(task, 2), "s", "begins")
    worker.post(1)
    worker.post(2, "begins")
    worker.post(3)
    worker.poll()
    assert worker.word(layout.WORKER_DONE) == 1
    tasks.end(task)
    worker.delivery.standing.end_task()
    assert worker.word(layout.WORKER_DONE) == 3


def test_who_waits_is_rung_for_once_when_done_passes_its_event(ground, worker):
    for number in range(3):
        worker.post(number)
    ground.words[layout.AWAITED] = 5
    worker.poll()
    assert ground.rung == 0
    worker.post(4)
    worker.post(5)
    worker.poll()
    assert ground.rung == 1
    worker.post(6)
    worker.poll()
    worker.delivery.may_sleep()
    assert ground.rung == 1


def test_who_waits_is_seen_by_the_fence_of_going_to_sleep(ground, worker, monkeypatch):
    """AWAITED becomes visible only after DONE was stored, and both are looked at once more."""
    worker.post(1)
    worker.poll()
    real = fence.fence
    monkeypatch.setattr(
        fence, "fence", lambda: (real(), ground.words.__setitem__(layout.AWAITED, 1))
    )
    assert worker.delivery.may_sleep()
    assert ground.rung == 1


def test_what_is_seen_by_the_fence_of_going_to_sleep_is_not_slept_over(ground, worker, monkeypatch):
    """W1 before the fence, W2 after it: a post in between finds nobody asleep, or is seen."""
    asleep = []
    monkeypatch.setattr(
        fence, "fence", lambda: (asleep.append(ground.words[layout.WAITING]), worker.post(1))
    )
    assert not worker.delivery.may_sleep()
    assert asleep == [1]


def test_a_handler_registered_in_a_run_is_called_for_the_rest_of_it(worker):
    """Also where the events before had the same names, and were not looked up again."""
    seen = []

    def register(data, event, source, pid):
        if data == 2:
            worker.on(lambda data, event, source, pid: seen.append(data), *COMMON)

    worker.on(register, *COMMON)
    for number in range(5):
        worker.post(number)
    worker.poll()
    assert seen == [3, 4]


def test_registering_in_a_handler_counts_from_the_next_event(worker):
    late = []

    def add(data, *_):
        late.append(data)

    worker.on(lambda *_: worker.on(add, *COMMON), *COMMON)
    for number in range(3):
        worker.post(number)
    worker.poll()
    assert late == [1, 2]


def test_local_events_come_before_the_next_one(worker):
    def post_local(data, *_):
        if data == 1:
            worker.progress.local.append(("s", "local", "local"))

    worker.on(post_local, *COMMON)
    for number in range(3):
        worker.post(number)
    assert worker.poll() == [0, 1, "local", 2]


def test_a_closed_bus_ends_the_poll_after_the_event(worker):
    worker.on(lambda *_: setattr(worker.delivery, "ended", True), *COMMON)
    worker.post(1)
    worker.post(2)
    assert worker.poll() == [1]
    assert worker.word(layout.WORKER_POSITION) == 1


def test_a_poll_ends_though_handlers_go_on_posting(worker):
    worker.on(lambda data, *_: worker.post(data + 1), *COMMON)
    worker.post(0)
    assert worker.poll() == list(range(16))


# -- unusual events in the midst of a run ----------------------------------------------------------


def nested(levels):
    data = []
    for _ in range(levels - 1):
        data = [data]
    return data


UNUSUAL = {
    "deep": lambda worker: worker.post(nested(256)),
    "large": lambda worker: worker.post("x" * 60_000),
    "unique": lambda worker: worker.post("once", unique="key"),
    "relayed": lambda worker: worker.table.append(
        (encode_relayed("s", "e", "far", None, 5, "host", "1-1"),)
    ),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_an_unusual_event_does_not_disturb_its_neighbours(worker, kind):
    worker.post(1)
    UNUSUAL[kind](worker)
    worker.post(3)
    seen = worker.poll()
    assert (seen[0], seen[2], len(seen)) == (1, 3, 3)
    assert worker.counts == (3, 0, 0)


BAD = {
    "no JSON": b"[1,",
    "not UTF-8": b'[1,"s","e","\xff"],',
    "another shape": b'{"a":1},',
    "too few": b'[1,"s","e"],',
    "a key that is no text": b'[1,"s","e",1,[]],',
    "a key that is none": b'[1,"s","e",1,null],',
    "a key that is a number": b'[1,"s","e",1,7],',
    "a key too many": b'[1,"s","e",1,"key","key"],',
    "from no host": b'[1,"s","e",1,"key",null,"1-1"],',
    "a name that is no text": b'[1,["s"],"e",1],',
    "two in one": b'[1,"s","e",1],[1,"s","e",1],',
    "nothing": b",",
    "four letters": b'"abcd",',
    "too deep": b'[1,"s","e",' + b"[" * 100_000 + b"]" * 100_000 + b"],",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bad_event_is_dropped_alone_and_told_as_lost(tmp_path, kind, place, caplog):
    """G3, and no payload in the log."""
    worker = Worker(Ground(tmp_path, 1 << 20))
    expected = []
    for number in range(5):
        if number == place:
            worker.table.append((BAD[kind],))
            expected.append(("lost", place + 1, place + 1))
        else:
            worker.post(number)
            expected.append(number)
    assert worker.poll() == expected
    assert worker.counts == (4, 1, 0)
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert f"events {place + 1} to {place + 1} (1) are lost" in record.getMessage()


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bad_event_that_ends_the_array_of_its_run_is_dropped_alone(worker, place):
    """G3: the text before that has as many records as there are events, and they are not those."""
    expected = [0, 1, 2, 3, 4]
    for number in expected:
        if number == place:
            made_up = [b'[1,"s","e","made up"]'] * (len(expected) - place)
            worker.table.append((b",".join(made_up) + b"],",))
        else:
            worker.post(number)
    expected[place] = ("lost", place + 1, place + 1)
    assert worker.poll() == expected


def test_records_of_a_run_whose_slots_are_reused_are_lost_if_one_is_bad(tmp_path):
    """They cannot be told apart any more; those whose slots are there still can."""
    ground = Ground(tmp_path, 4096)
    worker = Worker(ground)

    worker.post(0)
    for _ in range(4):
        worker.table.append((b"[1,",))
    worker.post(5)
    stop_in_reading(worker, lambda: [worker.post(100) for _ in range(13)])
    assert worker.poll() == [("lost", 1, 4), ("lost", 5, 5), 5, *[100] * 13]
    assert worker.counts == (14, 5, 0)


def stop_in_reading(worker, action):
    """Do it once, when a run has been copied and is not taken apart yet."""
    real = worker.table.reader.cut

    def cut(run):
        worker.table.reader.cut = real
        action()
        return real(run)

    worker.table.reader.cut = cut


# -- unique ----------------------------------------------------------------------------------------


def test_one_worker_of_all_handles_an_event_with_unique(ground):
    """G4: and the others count it as ignored."""
    all_of_them = [Worker(ground, slot) for slot in range(3)]
    all_of_them[0].post("once", unique="key")
    assert [worker.poll() for worker in all_of_them] == [["once"], [], []]
    assert [worker.counts for worker in all_of_them] == [(1, 0, 0), (0, 0, 1), (0, 0, 1)]


def test_a_listener_leaves_it_to_others(ground):
    listener, worker = Worker(ground, 0, takes_unique=False), Worker(ground, 1)
    listener.post("once", unique="key")
    listener.post("all")
    assert (listener.poll(), worker.poll()) == (["all"], ["once", "all"])
    assert listener.counts == (1, 0, 1)


def test_a_worker_without_a_handler_leaves_it_to_others(ground):
    without, worker = Worker(ground, 0, listens=False), Worker(ground, 1)
    without.post("once", unique="key")
    without.poll()
    assert worker.poll() == ["once"]


def test_a_claim_that_cannot_be_made_skips_nothing(ground, worker):
    """G5: LockTimeout while another process has the lock; later it is handled."""
    worker.post(1)
    worker.post("once", unique="key")
    ground.bounds.wait_max = 0.01
    with pytest.raises(LockTimeout):
        ground.table().lock.hold(worker.poll)
    assert worker.word(layout.WORKER_POSITION) == 1
    assert worker.poll() == [1, "once"]


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupt():
    raise Interrupt


def is_delivery(code):
    return code.co_filename.endswith(("delivery.py", "read.py", "claim.py", "filelock.py"))


@pytest.mark.parametrize("unique", [None, "key"])
def test_a_poll_interrupted_at_any_step_misses_at_most_what_it_was_in(tmp_path, unique):
    """Nothing twice; an event whose handlers had not been called comes again."""
    step, going = 0, True
    while going:
        step += 1
        ground = Ground(tmp_path, 1 << 14)
        worker = Worker(ground)
        for number in range(4):
            worker.post(number, unique=f"{unique}{number}" if unique and number % 2 else None)
        going = False
        try:
            with_steps(worker.delivery.handle_rounds, at(step, interrupt), traced=is_delivery)
        except Interrupt:
            going = True
        seen = worker.poll()
        assert sorted(set(seen)) == seen
        assert len(seen) >= 3
        assert worker.counts == (4, 0, 0)
    assert seen == [0, 1, 2, 3] and step > 60


# -- lost ------------------------------------------------------------------------------------------


def test_lost_events_are_told_in_their_place(worker, caplog):
    """G3."""
    worker.post(0)
    worker.poll()
    for number in range(1, 10):
        worker.post(f"{number}" * 9000)
    seen = worker.poll()
    kind, first, last = seen[0]
    assert (kind, first) == ("lost", 2) and last > 2
    assert len(seen) == 1 + 10 - last
    assert worker.counts == (1 + 10 - last, last - 1, 0)
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert f"events 2 to {last} ({last - 1}) are lost, overwritten" in record.getMessage()


def test_logging_that_raises_changes_nothing(worker, monkeypatch):
    """G6: neither `lost` nor a failed handler's neighbours."""
    import logging

    def fail(*_, **__):
        raise RuntimeError("no disk")

    monkeypatch.setattr(logging.Logger, "log", fail)
    monkeypatch.setattr(logging.Logger, "isEnabledFor", fail)
    failing = []

    def handler(data, *_):
        failing.append(data)
        raise ValueError(data)

    worker.on(handler, *COMMON)
    worker.table.append((b"[1,",))
    worker.post(2)
    assert worker.poll() == [("lost", 1, 1), 2]
    assert (failing, worker.handlers.failed) == ([2], 1)


# -- where the stack or the memory ends ------------------------------------------------------------


@pytest.mark.parametrize("error", [RecursionError, MemoryError])
def test_an_error_of_the_process_leaves_the_event_for_later(worker, monkeypatch, error):
    """It is the stack's or the memory's, not the event's: nothing is dropped for it."""
    worker.post(0)
    worker.post(nested(200))
    real = codec.from_json

    def decode(text, start):
        if "[[" in text:
            raise error
        return real(text, start)

    monkeypatch.setattr(codec, "from_json", decode)
    with pytest.raises(error):
        worker.poll()
    assert worker.progress.lost == 0
    monkeypatch.setattr(codec, "from_json", real)
    assert worker.poll()[-1] == nested(200)
    assert worker.counts == (2, 0, 0)


# -- forks and seats -------------------------------------------------------------------------------


def test_a_child_goes_on_after_the_event_whose_handler_forked_it(worker):
    children = []
    worker.on(lambda *_: children.append(worker.progress.forked(True)), *COMMON)
    for number in range(3):
        worker.post(number)
    worker.poll()
    rest = [Worker(worker.ground, 1 + slot, progress=one) for slot, one in enumerate(children)]
    assert [child.poll() for child in rest] == [[1, 2], [2], []]
    assert [child.counts for child in rest] == [(2, 0, 0), (1, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize(("unique", "again"), [(None, ["e"]), ("key", [])])
def test_a_child_of_another_thread_begins_the_running_event_again(worker, unique, again):
    """Never one with `unique`."""
    children = []

    def fork(*_):
        thread = threading.Thread(target=lambda: children.append(worker.progress.forked(False)))
        thread.start()
        thread.join()

    worker.on(fork, *COMMON)
    worker.post("e", unique=unique)
    worker.post("after", "other")
    worker.poll()
    child = Worker(worker.ground, 1, progress=children[0])
    assert child.poll() == [*again, "after"]
    assert child.counts == (1 + len(again), 0, 0)


def test_a_child_needs_no_slot_for_what_its_parent_had_copied(worker):
    children = []

    def fork(data, *_):
        if data == 0:
            children.append(worker.progress.forked(True))

    worker.on(fork, *COMMON)
    for number in range(5):
        worker.post(number)
    worker.poll()
    for _ in range(8):
        worker.post("x" * 16_000)
    child = Worker(worker.ground, 1, progress=children[0])
    seen = child.poll()
    assert seen[:4] == [1, 2, 3, 4]
    assert seen[4][0] == "lost"


def test_a_new_seat_goes_on_where_the_old_one_was(worker):
    for number in range(4):
        worker.post(number)
    worker.on(lambda data, *_: setattr(worker.delivery, "ended", data == 1), *COMMON)
    assert worker.poll() == [0, 1]
    again = Worker(worker.ground, 1, progress=worker.progress)
    assert again.poll() == [2, 3]
    assert again.counts == (4, 0, 0)


def test_going_to_the_oldest_keeps_the_counts(worker):
    for number in range(3):
        worker.post(number)
    worker.poll()
    worker.progress.was_removed = True
    worker.delivery.go_to_oldest()
    assert worker.poll() == [("lost", None, None), 0, 1, 2]
    assert worker.counts == (6, 0, 0)


def test_a_fork_that_ran_no_hook_handles_nothing_and_stores_nothing(worker):
    """G7: fork in C; the mark says so."""
    worker.post(1)
    worker.mark.word[0] = 0
    with pytest.raises(SegmentError):
        worker.poll()
    with pytest.raises(SegmentError):
        worker.delivery.may_sleep()
    assert worker.seen == []
    assert worker.word(layout.WORKER_POSITION) == worker.ground.words[layout.WAITING] == 0


def test_between_two_events_no_handler_runs(ground):
    """Also where the last one had none, or was left to another worker; a fork waits for nothing."""
    first, worker = Worker(ground, 0), Worker(ground, 1)
    worker.post("once", unique="key")
    first.poll()
    at_each = []
    for event in ("wanted", "unknown", "wanted"):
        worker.post(1, event)
    worker.handlers = worker.delivery.handlers = handlers.Handlers()
    worker.on(lambda *_: at_each.append(worker.progress.finished), "s", "wanted")
    worker.poll()
    assert at_each == [1, 3]
    assert worker.progress.finished == worker.progress.position == 4


def test_a_last_id_that_was_torn_is_no_news(ground, worker):
    """A 32-bit Python stores a word in two halves; the next poll sees it whole."""
    worker.post(1)
    worker.poll()
    words, looks = ground.words, []

    class Torn:
        def __getitem__(self, index):
            looks.append(index)
            return words[index] + (1 << 32 if index == layout.LAST else 0)

        def __setitem__(self, index, value):
            words[index] = value

    look_through(worker.delivery, Torn())
    assert worker.poll() == []
    assert worker.counts == (1, 0, 0)


# -- sleep -----------------------------------------------------------------------------------------


def test_it_may_sleep_if_nothing_is_new(ground, worker):
    assert worker.delivery.may_sleep()
    assert ground.words[layout.WAITING] == 1
    worker.post(1)
    assert ground.rung == 1
    assert not worker.delivery.may_sleep()
    worker.poll()
    worker.progress.local.append(("s", "e", 1))
    assert not worker.delivery.may_sleep()


def test_a_poll_that_finds_nothing_reads_one_word(worker):
    """G8: not even the logger is asked."""
    words = worker.ground.words
    reads = []

    class Counting:
        def __getitem__(self, index):
            reads.append(index)
            return words[index]

    look_through(worker.delivery, Counting())
    worker.poll()
    assert reads == [layout.LAST]


def test_signals_are_let_through_only_while_handlers_run(worker):
    steps = []

    class Signals:
        def block(self):
            steps.append("block")

        def unblock(self):
            steps.append("unblock")

    signals = Signals()
    worker.delivery.handle_rounds(signals)
    worker.on(lambda data, *_: steps.append(data), *COMMON)
    for number in range(3):
        worker.post(number)
    worker.delivery.handle_rounds(signals)
    assert steps == ["unblock", 0, 1, 2, "block"]


# -- what handlers return --------------------------------------------------------------------------


def test_a_coroutine_that_a_handler_returns_is_closed_and_a_failure(worker, caplog):
    """G6: it would never be awaited; the next events go on."""
    returned = []

    async def coroutine():
        pass

    def handler(*_):
        returned.append(coroutine())
        return returned[-1]

    worker.on(handler, *COMMON)
    worker.post(1)
    worker.post(2)
    assert worker.poll() == [1, 2]
    assert worker.handlers.failed == 2
    assert all(one.cr_frame is None for one in returned)
    assert "event callback failed; source=s, event=e" in caplog.text
    assert "returned a coroutine" in caplog.text


def test_a_failed_handler_is_logged_with_its_own_traceback_alone(worker, caplog):
    """Not as raised while the reader handled something else."""
    worker.on(lambda *_: 1 / 0, *COMMON)
    worker.post(1)
    worker.post("once", unique="k")
    worker.poll()
    assert caplog.text.count("ZeroDivisionError") == 2
    assert "During handling" not in caplog.text
