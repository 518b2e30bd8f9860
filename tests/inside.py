"""What is private in the package, said as a test wants it: no other test reaches inside.

When the package changes within, this is the file of the tests that changes with it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import time
from fcntl import LOCK_EX, LOCK_UN, flock
from queue import SimpleQueue
from types import SimpleNamespace

from stdevents._bus import asking as _asking
from stdevents._bus import bus as _bus
from stdevents._bus import codec as _codec
from stdevents._bus import delivery as _delivery
from stdevents._bus import handlers as _handlers
from stdevents._bus import joining as _joining
from stdevents._bus import later as _later
from stdevents._bus import life as _life
from stdevents._bus import loop as _loop
from stdevents._bus import loopthread as _loopthread
from stdevents._bus import polling as _polling
from stdevents._bus import progress as _progress
from stdevents._bus import seat as _seat
from stdevents._bus import waiting as _waiting
from stdevents._system import bell as _bell
from stdevents._system import fence as _fence
from stdevents._system import filelock as _filelock
from stdevents._system import files as _files
from stdevents._system import folder as _folder
from stdevents._system import leads as _leads
from stdevents._system import listener as _listener
from stdevents._system import memory as _memory
from stdevents._system import presence as _presence
from stdevents._system import process as _process
from stdevents._system import threadlock as _threadlock
from stdevents._table import append as _append
from stdevents._table import claim as _claim
from stdevents._table import layout as _layout
from stdevents._table import read as _read
from stdevents._table import room as _room
from stdevents._table import table as _table
from stdevents._table import workers as _workers

# Parts that are tested by themselves; those above the core only where they are asked for.
Bell, Listener, Sleeper = _bell.Bell, _listener.Listener, _listener.Sleeper
BELL_FULL = _bell.FULL
ThreadLock, Inside, Busy = _threadlock.ThreadLock, _threadlock.Inside, _threadlock.Busy
FileLock = _filelock.FileLock
OpenFile, FilesClosed = _files.OpenFile, _files.FilesClosed
Mark, Forked = _process.Mark, _process.Forked
AT_MOST_EVERY = _loopthread.AT_MOST_EVERY
MAGIC, VERSION, WORKERS, WORD = _layout.MAGIC, _layout.VERSION, _layout.WORKERS, _layout.WORD
_LATE = {
    "Evidence": "_cli.demo.verdict",
    "OpenBus": "_cli.outside",
    "Unhandled": "_cli.unhandled",
    "Posted": "_cli.demo.verdict",
    "judge": "_cli.demo.verdict",
    "Relayed": "_cli.looking",
    "Row": "_cli.looking",
    "Status": "_cli.looking",
    "Terminal": "_cli.terminal",
    "Position": "_relay.ids",
    "Stream": "_relay.stream",
    "Overtaken": "_relay.cursor",
    "encode_relayed": "_relay.records",
    "without_pid": "_relay.records",
}


def __getattr__(name):
    if name not in _LATE:
        raise AttributeError(name)
    return getattr(_late(_LATE[name]), name)


def _late(module):
    return importlib.import_module(f"stdevents.{module}")


# -- where a bus lives -----------------------------------------------------------------------------

ROOT = _folder.root()  # of the folders of all buses


def folder_of(name):
    """The path of the bus's folder."""
    return _folder.Folder(name).path


def check_ground(bus):
    """SegmentError unless what the bus lives on is there, where newcomers look for it."""
    seat_of(bus).check()


def lock_file_of(name):
    """The path of its lock file."""
    return os.path.join(folder_of(name), "lock")


def file_of_worker(name, slot):
    """The path of the file by which a worker lives."""
    return os.path.join(folder_of(name), f"worker.{slot}")


def memory_name_of(name):
    """The name of its shared memory."""
    return _folder.Folder(name).segment_name


def memory_file_of(name):
    """Its shared memory as a file, where shared memory is files."""
    return os.path.join("/dev/shm", memory_name_of(name))


def names():
    """The names of this user's buses, by their folders."""
    return _late("_cli.buses").names()


def names_by_user():
    """The names of all buses, by the ids of their users."""
    return _late("_cli.buses").names_by_user()


def remains_of(name):
    """What there is of the bus, in use or left behind."""
    return _late("_cli.buses").remains_of(name)


def make_folder(name):
    """Make its folder, as who opens it does first."""
    _folder.Folder(name).make()


def remove_folder(name):
    """Remove its folder with all in it, as who leaves it last does."""
    _folder.Folder(name).remove()


def remove_memory(name):
    """Remove its shared memory, whoever uses it."""
    _memory.remove(_folder.Folder(name))


def clean(name):
    """Remove what is left of a bus that nobody has open; was it removed?"""
    return _joining.clean(name)


def attach(name):
    """Look whether it can be opened to be looked at; its errors are raised."""
    _joining.visit(name).close()


# -- an open bus -----------------------------------------------------------------------------------


def name_of(bus):
    """The name that it was opened under last."""
    return bus._life.name


def is_kept_as_open(name):
    """Does this process keep a bus of this name as one that it has open?"""
    return name in _life._open_here


def seat_of(bus):
    """What it holds as a worker; another object after it was opened or joined again, or None."""
    return bus._life.state.seat


def settings_of(bus):
    """Its settings by name, as they are now."""
    return dict(vars(seat_of(bus).settings))


def position_of(bus):
    """The id of the event that it took last."""
    return seat_of(bus).progress.position


def fail_now(bus):
    """Have it tell of a handler that has failed."""
    bus._life.handlers.tell_failure(ValueError(), "test", "event", None)


def go_back(bus, position):
    """Have it be a worker that has come to `position`, and handled nothing yet."""
    seat = seat_of(bus)
    progress = _progress.Progress(position)
    progress.run = seat.table.run_at(position)
    seat.progress = seat.delivery.progress = progress


def closing_of(bus):
    """`closing()`: has a close of the bus, as it is open now, come to its wait for handlers?"""
    delivery = seat_of(bus).delivery
    return lambda: delivery.ended


def has_its_ground(bus):
    """Are its files and memory where newcomers look for them?"""
    try:
        seat_of(bus).check()
    except _seat.LostGround:
        return False
    return True


def locks_the_current_file(bus):
    """Is the file that it locks the one in the folder?"""
    seat = seat_of(bus)
    return seat.folder.shows("lock", seat.lock_file.number)


def look_at_ground(bus):
    """Have its next poll look whether its ground is still there."""
    seat_of(bus).next_look, seat_of(bus).quiet_polls = 1e-9, ()


def look_at_ground_always(monkeypatch):
    """Have each poll by hand look at that."""
    monkeypatch.setattr(_polling, "LOOK_EVERY", 0)


def recover(bus):
    """Be a worker anew, as after the bus was removed."""
    life = bus._life
    life._lose(life.state.seat, _seat.BusRemoved(None, "the test says that it was removed"))
    life.use(lambda seat: None)


def put_off_hook_of_child(bus):
    """Have the next forked children not run their hook for the bus; what it does, to be called."""
    life = bus._life
    hook = life.after_fork_in_child
    life.after_fork_in_child = lambda: delattr(life, "after_fork_in_child")  # in the child alone
    return hook


def without_parents_hooks(monkeypatch, bus):
    """Have forks call only the child's hook, as some servers do."""
    monkeypatch.setattr(bus._life, "before_fork", lambda: None)
    monkeypatch.setattr(bus._life, "after_fork_in_parent", lambda: None)


@contextlib.contextmanager
def loops_begin_after(seconds):
    """Within this, the loop of a forked child begins so long after the fork."""
    pause, _polling.PAUSE_AFTER_FORK = _polling.PAUSE_AFTER_FORK, seconds
    try:
        yield
    finally:
        _polling.PAUSE_AFTER_FORK = pause


@contextlib.contextmanager
def parent_hook_kept(bus):
    """Within this, a fork does nothing in the parent for the bus; what it would do, at the end."""
    kept, bus._life.after_fork_in_parent = bus._life.after_fork_in_parent, lambda: None
    try:
        yield
    finally:
        bus._life.after_fork_in_parent = kept
    kept()


def length_of_text(source, event, data):
    """How many bytes such an event takes in the ring."""
    return len(_codec.encode(source, event, data))


def taking(length):
    """Data of an event `s`, `e` that takes `length` bytes in the ring."""
    return "x" * (length - length_of_text("s", "e", ""))


def decode(text):
    """The parts of an event as it stands in the ring, or in the stream of a relay."""
    return _codec.decode(text)


def lives(bus, slot):
    """Is the worker of that slot alive, as posts that wait see it?"""
    return _presence.lives(seat_of(bus).folder, slot)


# -- the lock --------------------------------------------------------------------------------------


def under_lock(bus, work, *arguments):
    """Do `work` while this process has the lock of the bus; what it returns."""
    return bus._life.use(lambda seat: seat.lock.hold(work, *arguments))


@contextlib.contextmanager
def before_counts_are_read(number, action):
    """Within this, `action()` is called before a worker's counts are read for the n-th time."""
    counts_of, times = _workers.counts_of, []

    def act_and_read(*arguments):
        times.append(arguments)
        if len(times) == number:
            action()
        return counts_of(*arguments)

    _workers.counts_of = act_and_read
    try:
        yield
    finally:
        _workers.counts_of = counts_of
    assert len(times) > number


def after_next_hold(bus, action):
    """Call `action()` once, when a post of this process has let go of the lock."""
    table = seat_of(bus).table
    hold = table._hold

    def hold_and_act(*arguments):
        result = hold(*arguments)
        table._hold = hold
        action()
        return result

    table._hold = hold_and_act


def has_lock(bus):
    """`has()`: does this process have the lock of the bus as it is open now?

    A forked child takes its seat before.
    """
    lock = bus._life.use(lambda seat: seat.lock)
    return lock.is_inside


def thread_lock():
    """A lock between threads."""
    return ThreadLock()


def file_lock(path, wait_max=0.0, wait_interval=0.01):
    """A lock by the file at `path`, as one process has it."""
    file = OpenFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))
    bounds = SimpleNamespace(wait_max=wait_max, wait_interval=wait_interval)
    return FileLock("alone", file, Mark(), bounds)


def number_of(lock):
    """The number of the file that it locks."""
    return lock._file.number


class Clock:
    """A clock that only pauses move: `pauses` are those that there were."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def clock_of_pauses(monkeypatch):
    """Have both locks wait by a Clock."""
    clock = Clock()
    for module in (_filelock, _threadlock):
        monkeypatch.setattr(module, "monotonic", lambda: clock.now)
        monkeypatch.setattr(module, "time", clock)
    return clock


class LoopOf:
    """What a loop's thread does, round by round, in the calling one: by the clock of its pauses.

    It looks around only where an interval is given.
    """

    def __init__(self, monkeypatch, poller, interval=None):
        self.clock = Clock()
        monkeypatch.setattr(_loopthread, "monotonic", lambda: self.clock.now)
        monkeypatch.setattr(_loopthread, "time", self.clock)
        self.loop = loop = SimpleNamespace(name="alone", interval=interval)
        self.thread = loop.current = _loopthread.LoopThread(loop, poller, poller, 0)
        if interval is None:
            self.thread._next_look = float("inf")

    def rounds(self, count):
        for _ in range(count):
            self.thread._turn()


def refuse_wiping_on_fork(monkeypatch):
    """Have the kernel refuse what marks memory to be wiped in a fork, as an old one does."""
    _wipe_by(monkeypatch, 9999)


def ignore_wiping_on_fork(monkeypatch):
    """Have the kernel say that it will wipe memory in a fork, and not do it, as QEMU does."""
    _wipe_by(monkeypatch, 0)  # MADV_NORMAL


def _wipe_by(monkeypatch, advice):
    monkeypatch.setattr(_process, "MADV_WIPEONFORK", advice)
    monkeypatch.setattr(_process, "_word", None)


def leave_lock_over(bus):
    """As a call of this thread that has ended, and could release nothing."""
    seat = seat_of(bus)
    seat.lock.owner["thread"] = threading.get_ident()
    flock(seat.lock_file.number, LOCK_EX)


def leave_turn_over(bus):
    """As a poll of this thread that has ended, and could not say so."""
    bus._life.polling.turn.owner["thread"] = threading.get_ident()


def lock_has_owner(bus):
    """Does the lock think that a thread of this process has it?"""
    return bool(seat_of(bus).lock.owner)


def turn_has_owner(bus):
    """Does a thread of this process have the turn to poll, as far as the bus knows?"""
    return bool(bus._life.polling.turn.owner)


def is_under_the_lock(code):
    """Code of the lock, and of what is done under it."""
    modules = (_append, _claim, _filelock, _read, _room, _table)
    return code.co_filename in [module.__file__ for module in modules]


def is_wait_for_lock(code):
    """Code that waits for the lock."""
    lock = _filelock.FileLock
    return code in (lock._wait_for_file.__code__, lock._wait_for_thread.__code__)


def is_of_polls(code):
    """Code of how a process comes to handle what is new."""
    return code.co_filename == _polling.__file__


def is_of_quiet_polls(code):
    """Code of a poll that finds nothing."""
    return code in (_bus.Bus.poll.__code__, _polling.Polling.stays_quiet.__code__)


def is_of_delivery(code):
    """Code of the handling of what is new."""
    return code.co_filename in (_delivery.__file__, _progress.__file__)


def is_of_handlers(code):
    """Code of who is called for an event."""
    return code.co_filename == _handlers.__file__


def is_of_codec(code):
    """Code that makes records of events."""
    return code.co_filename == _codec.__file__


def is_of_opening_lock(code):
    """Code that opens the lock file and takes the lock for who comes or goes."""
    return code is _joining.Arrival.under_lock.__code__


def is_of_memory(code):
    """Code of the memory's object, also of its destructor, which swallows what is raised in it."""
    return code.co_filename == _memory.__file__


def is_of_opening_files(code):
    """Code that opens a file, up to where it is known to be ours."""
    return code.co_filename in (_files.__file__, _folder.__file__)


def is_of_look_for_a_fork(code):
    """Code that looks whether it has been forked, and goes on without any call in between."""
    functions = _life.Life._close, _life.Life.after_fork_in_child
    return code in [function.__code__ for function in functions]


# What is traced of it: finalisers, whose exceptions nobody gets, are not.
CLOSE = _threadlock.__file__, _life.__file__
POST = _threadlock.__file__, _filelock.__file__, _table.__file__, _append.__file__, _later.__file__


def of_deferred(files=POST):
    """`traced(code)`: code of these files, from when it looks at what was left to a call on."""
    begun = []

    def traced(code):
        if code is ThreadLock.run_deferred.__code__:
            begun.append(code)
        return bool(begun) and code.co_filename in files

    return traced


def is_of_letting_go(code):
    """Code that closes the files of a worker whose ground is lost."""
    return code is _seat.Seat._close.__code__


def is_of_joining(code):
    """Code that makes a process a worker."""
    files = (_joining.__file__, _presence.__file__, _workers.__file__)
    return code is _life.Life._open.__code__ or code.co_filename in files


def act_as_a_processor_that_reorders():
    """Have this process, and its forks, use the fences that x86-64 does not need."""
    _fence.REORDERS = True


def set_clock(monkeypatch, date):
    """Have the system's clock show this many seconds since the epoch, when a worker joins."""
    monkeypatch.setattr(_joining, "date", lambda: date)


def when_the_living_are_looked_for(monkeypatch, do):
    """Call `do()` during a look at the threads of this process, once."""
    frames = sys._current_frames

    def look():
        monkeypatch.undo()
        do()
        return frames()

    monkeypatch.setattr(sys, "_current_frames", look)


def keeps_waiting_for_lock(bus):
    """Does it believe that a thread of this process waits?"""
    return bool(seat_of(bus).lock._waiting)


# -- memory ----------------------------------------------------------------------------------------


def word_at(name):
    """Where the word of the header is, counted in words: "LAST", "INTENT", "HEADER_MAGIC"…"""
    return getattr(_layout, name)


class Map:
    """The byte map of a bus with a ring of `size` bytes: where its words are, and its parts."""

    def __init__(self, size):
        layout = _layout.Layout(size)
        self.workers, self.claims, self.events = layout.workers, layout.claims, layout.events
        self.total = layout.total
        # In bytes.
        self.header = range(WORD * _layout.HEADER_WORDS)
        self.first_worker = range(self.header.stop, self.header.stop + WORD * _layout.WORKER_WORDS)
        self.claim_slots = range(WORD * layout.claims_at, WORD * layout.events_at)
        self.event_slots = range(self.claim_slots.stop, layout.ring_at)
        self.ring = range(self.event_slots.stop, layout.total)
        self.event_slot = WORD * _layout.EVENT_WORDS
        self._slot_of = layout.slot_of

    def event(self, event_id, word="ID"):
        """Where a word of the event's slot is, counted in words."""
        return self._slot_of(event_id) + getattr(_layout, f"EVENT_{word}")

    def claim(self, slot, word):
        """Where a word of a claim slot is, counted in words."""
        at = self.claim_slots.start // WORD + slot * _layout.CLAIM_WORDS
        return at + getattr(_layout, f"CLAIM_{word}")

    def worker(self, slot, word):
        """Where a word of a worker slot is, counted in words."""
        at = _layout.HEADER_WORDS + slot * _layout.WORKER_WORDS
        return at + getattr(_layout, f"WORKER_{word}")


#: of an event slot, the bytes that the chain covers, or by which its text is found
CHECKED = range(WORD * _layout.EVENT_CLAIMED)


class Memory:
    """The memory of an open bus: `words` and `bytes` of header and slots, the `ring`, the `whole`.

    `descriptor`: of its file.
    """

    def __init__(self, bus):
        seat = seat_of(bus)
        layout, self.whole = seat.table.layout, seat.memory.buf
        self.map = Map(layout.size)
        self.words, self.bytes = seat.words, self.whole[: layout.ring_at]
        self.ring = self.whole[layout.ring_at : layout.total]
        self.descriptor = seat.memory._fd

    @property
    def last(self):
        """The id of the event published last."""
        return self.words[_layout.LAST]

    def first_byte_of(self, event_id):
        """Where the event's text begins, in the ring."""
        before = self.words[self.map.event(event_id - 1, "END")] if event_id > 1 else 0
        return before % len(self.ring)


def epoch_of(bus):
    """The random word by which it can be told from others of its name."""
    return seat_of(bus).epoch


def expire_all_keys(bus):
    """Have all `unique` keys look as if their timeout had passed."""
    memory = Memory(bus)
    for slot in range(memory.map.claims):
        memory.words[memory.map.claim(slot, "DEADLINE")] = 0


class _CountedReads:
    def __init__(self, words):
        self.words = words
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return self.words[index]


def words_read_by(bus, work):
    """Which words of the memory a poll reads while `work` is done, in order."""
    state = bus._life.state
    words, *rest = kept = state.at_hand
    counted = _CountedReads(words)
    state.at_hand = counted, *rest
    work()
    state.at_hand = kept
    return counted.read


# -- the table's protocols -------------------------------------------------------------------------

WRITING = {_append.Writer.write.__code__, _append.Writer._wrap.__code__}  # P2 and P3
READING = {
    function.__code__ for function in vars(_read.Reader).values() if hasattr(function, "__code__")
}


def append(bus, *texts):
    """Post events of these bytes, whatever they are; the last id."""
    return seat_of(bus).table.append(texts)


def last_of(bus):
    """The id of the event published last."""
    return seat_of(bus).table.last


def read(bus, position):
    """What a reader that has come to `position` gets: how far it is then, and (id, bytes) each."""
    table = seat_of(bus).table
    run = table.read(table.run_at(position))
    return run.through, _records_of(table, run)


def _records_of(table, run):
    """The records of a run by their ids, each with its comma; None where that cannot be said."""
    records = table.reader.cut(run) if run.text else []
    whole = [record and record.rstrip(b",") + b"," for record in records]  # the last one has none
    return list(enumerate(whole, run.before + 1))


def is_overwritten(bus, event_id):
    """Is the event overwritten, or may it be?"""
    reader = seat_of(bus).table.reader
    return not reader._is_whole(reader.place(event_id - 1))


def claim(bus, event_id, key):
    """Claim the event by its `unique` key; is this worker the one to handle it?"""
    seat = seat_of(bus)
    how, _ = seat.table.claim(event_id, key, 30, seat.delivery._worker)
    return how in (_claim.MINE, _claim.MINE_NOT_HELD)


def take_key_only(bus, event_id, key):
    """Take its key, as who is killed right before C4."""
    claim(bus, event_id, key)
    memory = Memory(bus)
    memory.words[memory.map.event(event_id, "CLAIMED")] = 0


def records_from(bus, position):
    """The records that `tail` makes lines of, those after `position`."""
    through, records = read(bus, position)
    parts = [(number, _codec.decode(record)) for number, record in records]
    return list(_late("_cli.tail")._lines(position, through, parts))


def never_ask_for_the_dead(monkeypatch):
    """Have a post that waits for room not look who has died meanwhile."""
    monkeypatch.setattr(_table, "DEATH_EVERY", 1000)


def note_looks_for_the_living(monkeypatch, bus):
    """The slots that are looked at to see whether a worker lives, in order from now on."""
    looked, room = [], seat_of(bus).table._room
    lives = room._lives
    monkeypatch.setattr(room, "_lives", lambda slot: looked.append(slot) or lives(slot))
    return looked


def ask_who_lives_after(monkeypatch, seconds):
    """Have calls that wait for workers ask only so long after who of them has died."""
    for module in (_waiting, _late("aio")):
        monkeypatch.setattr(module, "LIVES_EVERY", seconds)


def has_ears(bus):
    """Is there a call in this process that has files to wait with?"""
    return any(ear.fileno() is not None for ear in bus._life.polling.ears.copy())


def who_looks_who_lives(monkeypatch):
    """A threading.Event that is set each time that a call has looked who of the asked lives."""
    looked, look = threading.Event(), _asking.Question._look

    def look_and_tell(*arguments):
        look(*arguments)
        looked.set()

    monkeypatch.setattr(_asking.Question, "_look", look_and_tell)
    return looked


def is_deaf(monkeypatch):
    """Have calls that wait for workers not hear the bell, as where there is no epoll."""

    def refuse(bell):
        raise OSError("the test says that there is no epoll")

    monkeypatch.setattr(_waiting, "Listener", refuse)


def note_takings_of_the_lock(monkeypatch, bus):
    """A list that grows by one for each post that takes the lock."""
    table, taken = seat_of(bus).table, []
    hold = table._hold
    monkeypatch.setattr(table, "_hold", lambda *work: (taken.append(1), hold(*work))[1])
    return taken


def lead_files_of(name):
    """The paths of the files of the tasks that are led, or were."""
    folder = folder_of(name)
    return [os.path.join(folder, file) for file in os.listdir(folder) if file.startswith("lead.")]


def lead_number_of(bus, task):
    """The number of the open file by which this worker leads the task."""
    return seat_of(bus).leads._held[task].number


def system_calls_of_lead(monkeypatch):
    """A list of the system calls that a leader makes to be sure that it is one, from now on."""
    calls = []

    class System:
        def __getattr__(self, call):
            real = getattr(os, call)
            if call not in ("lseek", "fstat"):
                return real
            return lambda *arguments: (calls.append(call), real(*arguments))[1]

    monkeypatch.setattr(_files, "os", System())
    return calls


def when_a_lead_is_locked(monkeypatch, before=lambda: None, after=lambda: None):
    """Call `before()` and `after()` right before and after the file of a task is locked, once."""
    left = [(before, after)]

    def lock(descriptor, operation):
        first, then = left.pop() if operation != LOCK_UN and left else [lambda: None] * 2
        first()
        flock(descriptor, operation)
        then()

    monkeypatch.setattr(_leads, "flock", lock)


def before_lead(monkeypatch, bus, step, action):
    """Call `action()` once, before a `lead` looks for the folder, or before it takes the lead."""
    seat = seat_of(bus)
    of, method = {"look": (seat.folder, "shows"), "take": (seat.leads, "take")}[step]
    real = getattr(of, method)

    def act(*arguments):
        monkeypatch.setattr(of, method, real)
        action()
        return real(*arguments)

    monkeypatch.setattr(of, method, act)


def hide_folder(monkeypatch, bus):
    """Have its folder be nowhere for this process, as in a root of its own."""
    monkeypatch.setattr(seat_of(bus).folder, "path", "/nowhere")


def fail_to_open_files(monkeypatch, number):
    """Have no file of a bus be opened: OSError of that number."""

    def open_file(*_, create):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_folder.Folder, "open_file", open_file)


# -- something at a step ---------------------------------------------------------------------------

_STEPS = {
    "an event is written": (_append, "ends"),  # P1
    "a checksum is taken": (_append, "crc32"),
    "an event is claimed": (_claim.Claims, "take"),
    "the workers are listed": (_table.Table, "_workers"),
    "a slow worker is looked at": (_room.Room, "has_moved"),
    "a joiner goes back": (_table.Table, "go_back"),
    "the last id is read": (_table.Table, "last"),
    "a child becomes a worker": (_joining, "join"),
    "a child opens the bell": (_folder.Folder, "open_fifo"),
    "stopping is posted": (_seat.Seat, "announce"),
    "started is posted": (_seat.Seat, "announce"),
    "the bus is left": (_joining, "leave"),
    "the loop sleeps": (_loopthread.LoopThread, "_sleep"),
    "a loop's thread is told to end": (_loopthread.LoopThread, "end"),
    "the place in the stream is written": ("_relay.cursor", "Cursor", "write"),
}


def before(monkeypatch, step, action):
    """Call `action()` each time right before the step of that name, one of _STEPS.

    It may undo `monkeypatch`, so that it is called once.
    """
    _wrap(monkeypatch, step, action, lambda: None)


def after(monkeypatch, step, action):
    """Call `action()` each time right after the step."""
    _wrap(monkeypatch, step, lambda: None, action)


def _wrap(monkeypatch, step, first, then):
    owner, name = _STEPS[step][-2:]
    if isinstance(owner, str):
        owner = getattr(_late(_STEPS[step][0]), owner)
    real = vars(owner)[name]
    call = real.fget if isinstance(real, property) else real

    @functools.wraps(call)
    def wrapped(*arguments, **options):
        first()
        result = call(*arguments, **options)
        then()
        return result

    monkeypatch.setattr(owner, name, property(wrapped) if call is not real else wrapped)


def after_each_unlocking(monkeypatch, action):
    """Call `action()` each time right after the lock file was unlocked."""

    def unlock_and_act(descriptor, operation):
        flock(descriptor, operation)
        if operation == LOCK_UN:
            action()

    monkeypatch.setattr(_filelock, "flock", unlock_and_act)


# -- bell and loop ---------------------------------------------------------------------------------


def bell_of(bus):
    """The bell that its posts ring."""
    return seat_of(bus).bell


def lock_number_of(bus):
    """The number of the open file by which it locks."""
    return seat_of(bus).lock_file.number


def bell_file_of(bus):
    """The number of the bell's open file."""
    return seat_of(bus).bell.file.number


def note_rings(bus):
    """A list that grows by one for each time that a post of this process rings."""
    table, rung = seat_of(bus).table, []
    ring = table.ring
    table.ring = lambda: (rung.append(1), ring())
    return rung


def act_in_its_ring(bus, action):
    """Have its posts do this right before they ring, with all that comes before and after."""
    table = seat_of(bus).table
    ring = table.ring
    table.ring = lambda: (action(), ring())


def when_it_has_heard(monkeypatch, action):
    """Call `action()` when a poll has taken what `fileno` heard."""
    wait = Listener.wait

    def wait_and_act(listener, timeout):
        heard = wait(listener, timeout)
        action()
        return heard

    monkeypatch.setattr(Listener, "wait", wait_and_act)


def may_sleep(bus):
    """Do W1, and W2: is there nothing new?"""
    return bus._life.polling.may_sleep()


def is_asleep(bus):
    """Has its loop had its last look before it sleeps?"""
    return bool(seat_of(bus).words[_layout.WAITING] and bus._life.polling.loop.current.asleep)


def anybody_sleeps(bus):
    """Has a worker told that it wants to be woken?"""
    return bool(seat_of(bus).words[_layout.WAITING])


def loop_thread_of(bus):
    """The thread of its loop, or None."""
    current = bus._life.polling.loop.current
    return current and current._thread


def wait_for_uses(monkeypatch, seconds):
    """Have a listener that is to be closed wait so long for other threads that use it."""
    monkeypatch.setattr(_listener, "LONGEST_USE", seconds)


def wait_for_idle_loops(monkeypatch, seconds):
    """Have a loop that is to end, and is in no handler, be waited for so long."""
    monkeypatch.setattr(_loopthread, "LONGEST_END", seconds)


def have_loop_poll(bus, poll):
    """Have its loop call `poll(real)` for each poll, `real` being the one that it does else."""
    polling = bus._life.polling
    real = polling.poll_in_loop
    polling.poll_in_loop = lambda signals: poll(lambda: real(signals))


def run_loops_by(monkeypatch, call):
    """Have each loop's thread do all that it does in `call(run, traced)`: of what is to be traced.

    Another thread that goes on for it begins at once.
    """
    run = _loopthread.LoopThread._run
    files = {_loop.__file__, _loopthread.__file__, _polling.__file__}
    monkeypatch.setattr(_polling, "PAUSE_AFTER_FORK", 0)
    monkeypatch.setattr(
        _loopthread.LoopThread,
        "_run",
        lambda thread: call(lambda: run(thread), lambda code: code.co_filename in files),
    )


def start_loop(bus):
    """Start its loop, as a fork or a configure that is nested in its start does."""
    bus._life.polling.loop.start()


def stop_loop(bus):
    """End its loop without waiting, as a fork or a configure that is nested in its start does."""
    bus._life.polling.loop.stop(0)


def ghosts_of(name):
    """Slots of workers that have left, and count as alive; the bus is open nowhere."""
    return _presence.live_slots(_folder.Folder(name), WORKERS)[0] if remains_of(name) else []


def listener_of(bus):
    """What its loop waits with."""
    return bus._life.polling.loop.current.listener


def caller_file_of(listener):
    """The number of the file by which the listener is woken from its own process."""
    return listener._call.number


def called_file_of(listener):
    """The number of the other end of that."""
    return listener._called.number


class _InHandler:
    ended = True

    def end(self, wait):
        pass


def ending_loop(count):
    """A loop that was stopped in so many handlers, and the threads that they still run in."""
    loop = _loop.Loop(None)
    threads = [_InHandler() for _ in range(count)]
    loop._threads.update(threads)
    return loop, threads


class _FindsNothing:
    burst_pause = AT_MOST_EVERY

    def poll_in_loop(self, signals):
        return False

    def look_in_loop(self):
        pass

    def listen(self):
        return Sleeper()

    def may_sleep(self):
        return True

    def is_busy(self):
        return False


def idle_loop(name):
    """A loop of no bus, that has nothing to do for an hour."""
    loop = _loop.Loop(_FindsNothing())
    loop.name, loop.interval = name, 3600.0
    return loop


def look_at_each_turn(monkeypatch):
    """Have loops look around at each turn."""
    monkeypatch.setattr(_loopthread, "LOOK_EVERY", 0)


def change_interval(loop, seconds):
    """As `configure` changes it."""
    loop.interval = seconds
    loop.current.look_around()


def note_naps(monkeypatch):
    """A queue of the seconds for which each loop without a bell sleeps."""
    naps, real = SimpleQueue(), Sleeper.wait

    def wait(sleeper, timeout):
        naps.put(timeout)
        return real(sleeper, timeout)

    monkeypatch.setattr(Sleeper, "wait", wait)
    return naps


def runs_loop(bus):
    """Has it a loop that runs?"""
    return bus._polling.loop.runs()


def levels_with_handlers(bus):
    """How many there are that anything is kept for."""
    return len(bus._handlers._held)


def lock_of_registrations(bus):
    """What a thread holds that registers or unregisters a handler."""
    return bus._handlers.changing


def begun_by_handlers(bus):
    """What its handlers have begun, and go on with after they have returned."""
    return bus._life.handlers.tasks


def watch_of(bus):
    """What event loops wait with for its news."""
    return bus._life.polling.watch


# -- asyncio ---------------------------------------------------------------------------------------


def descriptor_of(async_bus):
    """What its event loop watches, or -1 where it looks by a timer."""
    return async_bus._waking.descriptor


def has_timer(async_bus):
    """Does a timer of its event loop run?"""
    return async_bus._waking._next_look is not None


def is_in_burst(async_bus):
    """Does a timer poll, while its event loop does not watch the descriptor?"""
    return async_bus._waking._next_poll is not None


class StoppedClock:
    """What asyncio's polls look at, to see whether the last one is only just over."""

    def __init__(self, monkeypatch):
        self.now = time.monotonic()
        monkeypatch.setattr(_late("_aio.waking"), "monotonic", lambda: self.now)


def streams_of(async_bus):
    """The `events()` that it still feeds."""
    return list(async_bus._streams)


def tasks_of(async_bus):
    """The tasks of its coroutine handlers."""
    return async_bus._running.tasks


def stop_listening(async_bus):
    """Have its event loop no longer hear of news."""
    async_bus._waking.stop()


def poll_of_event_loop(async_bus):
    """Poll as its event loop does."""
    async_bus._waking.poll()


# -- the command line ------------------------------------------------------------------------------


def faults_of(name):
    """What `check` finds at fault, a line each."""
    return _late("_cli.check").check(name)


def examine(name):
    """Look at it as `check` does; its errors are raised."""
    _late("_cli.check").examine(name)


def status(monkeypatch, names, as_json):
    """`status` without a name, where there are these buses and no others; its exit status."""
    command = _late("_cli.status")
    monkeypatch.setattr(command, "names", lambda: names)
    monkeypatch.setattr(command, "of_others", list)
    return command.main(None, watch=False, every=0.0, as_json=as_json, metrics=False)


def watch_pause_of(monkeypatch, *arguments):
    """The seconds that a command sleeps first, and is interrupted in, as by Ctrl-C."""
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("sys.argv", ["stdevents", *arguments])
    assert _late("_cli.main").main() == 0
    return pauses[0] if pauses else None


def status_of_dead():
    """What `status` says of a bus whose workers are all dead."""
    return _late("_cli.status").DEAD


def workers_in(terminal, status, room):
    """The lines in which `status` shows the workers, where there is room for so many."""
    return _late("_cli.screen").lines_of(terminal, status, room)


def worker_line(*arguments):
    """The line in which `status` shows a worker."""
    return _late("_cli.screen").line_of(*arguments)


def head_of(terminal, status):
    """The lines that `status` shows above the workers."""
    return _late("_cli.screen").head(terminal, status, None)


def metrics_of(buses):
    """The OpenMetrics text of these buses, each a name and a `Status`, or None."""
    return _late("_cli.metrics").text_of(buses)


def command_of(pid):
    """What the commands call the program of a process."""
    return _late("_cli.processes").command_of(pid)


def buses_of_others(monkeypatch, buses):
    """The lines about the buses of other users, where these are all that there are, by user id."""
    outside = _late("_cli.outside")
    monkeypatch.setattr(outside, "names_by_user", lambda: buses)
    return outside.of_others()


def in_colour(terminal, line, now):
    """A line of `tail` as the terminal shows it, of an event that was read then."""
    return _late("_cli.tail")._in_colour(terminal, line, now)


def clean_all(monkeypatch, names):
    """`clean` without a name, where there are these buses and no lost memory; its exit status."""
    command = _late("_cli.clean")
    monkeypatch.setattr(command, "names", lambda: names)
    monkeypatch.setattr(command, "remove_lost_segments", list)
    return command.main(None)


def remove_lost_memory(monkeypatch, path):
    """Have `clean` remove the memory at `path`, and no other, if it has lost its folder."""
    command = _late("_cli.clean")
    everywhere = command._segments()
    assert path in everywhere
    monkeypatch.setattr(command, "_segments", lambda: {path: everywhere[path]})
    return command.remove_lost_segments()


# -- the relay -------------------------------------------------------------------------------------

RELAY_CELLS = _layout.CELLS
RELAY_WORDS = range(_layout.COMPANION + 2, _layout.COMPANION + 7)  # whose reader, since when


def code_of_relaying():
    """Code that appends what a reader has read, and its place."""
    cursor = _late("_relay.cursor")
    functions = (
        (_table.Table, ("append",)),
        (_append.Writer, ("write", "_wrap", "_look_closer")),
        (_filelock.FileLock, ("hold",)),
        (cursor.Step, ("check", "write")),
        (cursor.Cursor, ("position", "_valid", "write", "take")),
    )
    return {getattr(of, one).__code__ for of, names in functions for one in names}


def reader_of(bus):
    """The pid of the worker that was elected to read the stream, or 0."""
    words = seat_of(bus).words
    slot = words[_late("_relay.cursor").READER]
    return slot and words[_workers.at(slot - 1) + _layout.WORKER_PID]


def depose_reader(bus):
    """Nobody is elected to read any more."""
    words = seat_of(bus).words
    under_lock(bus, words.__setitem__, _late("_relay.cursor").READER, 0)


def elect_until_far_future(bus):
    """Have the election end later than one can."""
    cursor = _late("_relay.cursor")
    seat_of(bus).words[cursor.UNTIL] += 1000 * cursor.LEASE


def place_in_stream(bus):
    """How far into the stream the bus has come, or None."""
    return _late("_relay.cursor").Cursor(seat_of(bus).words).position()


def new_reader(host):
    """One more reader for the bus of the host."""
    life, relay = host.bus._life, host.relay._life
    seat = life.use(lambda seat: seat)  # a forked child takes it at its first call
    return _late("_relay.reader").Reader(
        seat, life.handlers, relay.stream, "host", "new", relay.counts
    )


def batches_from(reader, position, count):
    """What the reader makes of so many entries after `position`: batches, read but not appended."""
    return reader._batches.of(position, reader._stream.look(position, count))


def hold_batch(reader, before, batch):
    """Have the reader be about to append this batch, which it read at the place `before`."""
    step = _late("_relay.cursor").Step(reader._term, before, batch.after)
    reader._pending = [(batch, step)]


def read_twice_and_resign(relay):
    """Have the relay's reader be elected, read twice, and give up its place."""
    reader = relay._life.reader
    reader._renewal = 0
    assert reader.elect() and reader.read() and reader.read()
    reader.resign()


def is_away(relay):
    """Has it noticed that Redis is away?"""
    return relay._life.contact.away_since > 0


def pass_time_while_away(relay, seconds):
    """Have a relay take Redis to be away for so much longer already."""
    relay._life.contact._began -= seconds
    relay._life.contact._tell_at -= seconds


def pause_of(relay):
    """Seconds between two tries to reach Redis."""
    return relay._life.loop.interval


def send_buffer_later(relay):
    """Have a relay whose thread was stopped begin its work anew when told to: `begin()`."""
    life = relay._life
    life._is_closed = life.posting._is_closed = False

    def begin():
        life._hurry = False
        life.send_waiting()
        life.loop.start()

    return begin


def relay_once(relay):
    """Do what the relay's thread does at a time, in this thread."""
    relay._life.poll_in_loop(None)


@contextlib.contextmanager
def stopped(relay):
    """The relay's thread has ended, and is started again, as for a fork."""
    relay._life.before_fork()
    try:
        yield
    finally:
        relay._life.after_fork_in_parent()


def poll_and_look(bus):
    """Poll as its loop does, which looks at its ground as well."""
    polling = bus._life.polling
    polling.poll_in_loop(None)
    polling.look_in_loop()


def elect_often(monkeypatch):
    """Have relays look often whether somebody reads."""
    monkeypatch.setattr(_late("_relay.life"), "EVERY", 0.02)


def elect_for(monkeypatch, seconds):
    """Have an election hold for so long."""
    monkeypatch.setattr(_late("_relay.cursor"), "LEASE", seconds * 1_000_000_000)


def one_event_a_batch(monkeypatch):
    """Have readers append each event by itself."""
    monkeypatch.setattr(_late("_relay.batches"), "LONGEST", 1)


def as_before_redis_7(monkeypatch):
    """Have Redis not tell what only Redis 7 does."""
    stream = _late("_relay.stream")  # where relays take the script from
    old = stream.LOOK.replace("'entries-added'", "'-'").replace("'max-deleted-entry-id'", "'-'")
    monkeypatch.setattr(stream, "LOOK", old)


def put_into_buffer(relay, count):
    """Have so many posts of source "test" wait in the buffer of a relay that reaches Redis."""
    life = relay._life
    for number in range(count):
        record = _codec.encode("test", "event", number)
        life.posting._keep((_late("_relay.records").without_pid(record),), None)


def keep_rarely(monkeypatch):
    """Have readers tell Redis how far they are when they begin and end, and never in between."""
    monkeypatch.setattr(_late("_relay.keeping"), "EVERY", 1_000_000_000_000)


def refill_buffer(relay, monkeypatch, goes_on):
    """Have one more post come for each that is sent from a relay's buffer, as long as it goes on.

    So it is not empty before that.
    """
    posting = relay._life.posting
    send = posting.send_next

    def send_and_refill():
        if goes_on():
            put_into_buffer(relay, 1)
        send()

    monkeypatch.setattr(posting, "send_next", send_and_refill)


def worker_patience(monkeypatch, seconds):
    """Have readers wait so long for a worker that takes nothing."""
    monkeypatch.setattr(_late("_relay.pace"), "PATIENCE", seconds)


def connections_in_use(client):
    """Those of a client of Redis that somebody has taken from its pool."""
    return set(client.connection_pool._in_use_connections)


def close_during_failure(relay, monkeypatch):
    """Have the relay be closed by another thread when its own has just found Redis away.

    What is set when it is.
    """
    life, closed = relay._life, threading.Event()
    failed = life.contact.failed

    def fail_and_close(*arguments):
        failed(*arguments)
        closer = threading.Thread(target=relay.close)
        closer.start()
        closer.join()
        closed.set()

    monkeypatch.setattr(life.contact, "failed", fail_and_close)
    return closed


def close_before_keeping(relay, monkeypatch):
    """Have the relay be closed when a post has found Redis away, and is to be kept."""
    posting = relay._life.posting
    keep = posting._keep

    def close_and_keep(*arguments):
        relay.close()
        keep(*arguments)

    monkeypatch.setattr(posting, "_keep", close_and_keep)


def runs(relay):
    """Does it have a thread?"""
    return relay._life.loop.runs()
