"""Forks of every kind while 16 threads post, register and unregister, and the loop polls.

Each child is a worker that works, whatever the threads were in the middle of; some linger, with
copies of all that was open, while the parent goes on.
"""

from __future__ import annotations

from programs import run_file

NAME = "forks beside threads"

PROGRAM = """
import collections, json, logging, multiprocessing, os, random, signal, subprocess, sys, threading
import traceback, warnings
import stdevents

# Forks in a process with threads of its own, and means to.
warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
warnings.filterwarnings("ignore", ".*preexec_fn.*", DeprecationWarning)

THREADS = 16
OF_A_CHILD = 4  # events

def live(label):
    # As a worker of a bus that is open here: post, be handed it, once and in order; and go.
    signal.alarm(40)
    seen = []
    def note(data, event, source, pid):
        seen.append((data, pid))
    stdevents.register(note, "child", label)
    for number in range(OF_A_CHILD - 1):
        stdevents.post("child", label, number)
    poster = threading.Thread(target=stdevents.post, args=("child", label, OF_A_CHILD - 1))
    poster.start()
    poster.join()
    stdevents.poll()
    assert seen == [(number, os.getpid()) for number in range(OF_A_CHILD)], seen
    assert stdevents.unregister(note, "child", label)
    assert os.getpid() in [worker.pid for worker in stdevents.workers()]

def join_and_live(name, label):
    stdevents.configure(name, interval=0.05, wait_max=20)
    live(label)

def by_os_fork(label):
    child = os.fork()
    if not child:
        failed = 1
        try:
            live(label)
            if label.endswith(("0", "5")):  # most leave without a word
                stdevents.close()
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    return lambda: os.waitpid(child, 0)[1]

def by_os_fork_that_lingers(label):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        failed = 1
        try:
            signal.alarm(60)
            os.read(reader, 1)
            live(label)
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    def wait():
        os.write(writer, b"!")
        os.close(writer)
        os.close(reader)
        return os.waitpid(child, 0)[1]
    lingering.append(wait)
    return lambda: 0

def command(label):
    return [sys.executable, "-X", "dev", "-W", "error", __file__, name, "join", label]

def by_posix_spawn(label):
    child = os.posix_spawn(sys.executable, command(label), os.environ)
    return lambda: os.waitpid(child, 0)[1]

def by_subprocess(label):
    return subprocess.Popen(command(label)).wait

def by_subprocess_with_a_function(label):
    return subprocess.Popen(command(label), preexec_fn=stdevents.configured).wait

def by_multiprocessing(method):
    context = multiprocessing.get_context(method)
    def fork(label):
        target, arguments = (live, ()) if method == "fork" else (join_and_live, (name,))
        child = context.Process(target=target, args=(*arguments, label))
        child.start()
        def wait():
            child.join()
            return child.exitcode
        return wait
    fork.__name__ = "by_" + method
    return fork

def kinds(chance, count):
    # One of each, and the cheapest ones over and over.
    some = [
        by_subprocess, by_subprocess_with_a_function,
        *[by_posix_spawn] * hasattr(os, "posix_spawn"),  # PyPy has none
        *(by_multiprocessing(method) for method in multiprocessing.get_all_start_methods()),
        *[by_os_fork_that_lingers] * (count // 10),
    ]
    some += [by_os_fork] * (count - len(some))
    chance.shuffle(some)
    return some

def be_busy(number):
    posted = 0
    def nothing(data, event, source, pid):
        pass
    try:
        while not over.is_set():
            room.acquire()
            stdevents.register(nothing, "thread", str(number))
            stdevents.post("thread", str(number), posted)
            posted += 1
            assert stdevents.unregister(nothing, "thread", str(number))
    except BaseException:
        failures.append(traceback.format_exc())
    totals[str(number)] = posted

def main(seed, forks):
    seen = collections.defaultdict(list)
    me = os.getpid()
    def note(data, event, source, pid):
        seen[source, event].append(data)
        # Not in a child: one of the parent's threads may have held the lock of it at the fork.
        if source == "thread" and os.getpid() == me:
            room.release()
    stdevents.configure(name, size="16m", interval=0.05, wait_max=20)
    stdevents.register(note)
    threads = [threading.Thread(target=be_busy, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    bad = collections.Counter()
    for number, fork in enumerate(kinds(random.Random(seed), forks)):
        signal.alarm(40)
        wait = fork(str(number))
        stdevents.post("parent", "forked", number)
        bad[fork.__name__] += wait() != 0
    for wait in lingering:
        bad["by_os_fork_that_lingers"] += wait() != 0
    over.set()
    for _ in threads:
        room.release()
    for thread in threads:
        thread.join()
    stdevents.poll()
    stats = stdevents.stats()
    assert not failures, failures[0]
    assert not +bad, bad
    assert [worker.pid for worker in stdevents.workers()] == [os.getpid()]
    assert stats.handler_errors == 0 == stats.lag
    stdevents.close()
    expected = {("thread", thread): list(range(total)) for thread, total in totals.items()}
    expected.update({("child", str(number)): list(range(OF_A_CHILD)) for number in range(forks)})
    expected["parent", "forked"] = list(range(forks))
    print(json.dumps({
        "posts meanwhile": sum(totals.values()),
        "lost": stats.lost + sum(len(set(of) - set(seen[key])) for key, of in expected.items()),
        "duplicated": sum(len(seen[key]) - len(set(seen[key])) for key in expected),
        "reordered": sum(seen[key] != sorted(seen[key]) for key in expected),
    }))

if __name__ == "__main__":
    name, what = sys.argv[1:3]
    room = threading.Semaphore(200)  # posts that are not handled yet
    over, failures, totals, lingering = threading.Event(), [], {}, []
    if what == "join":
        join_and_live(name, sys.argv[3])
    else:
        main(int(what), int(sys.argv[3]))
"""


def test_forks(campaign, name, tmp_path):
    """G7, G5, G2: the child works, the parent is unharmed, no lock is inherited."""
    forks, at_once = campaign.size(25, 50_000), 25
    campaign.in_programs(
        NAME, forks, at_once, lambda seed: run_file(tmp_path, PROGRAM, name, seed, at_once)
    )
    campaign.end(NAME, forks)
