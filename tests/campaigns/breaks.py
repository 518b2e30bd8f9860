"""The breaks of test_campaigns_bite.py: the protocol, wrong in one place each."""

from __future__ import annotations

from typing import NamedTuple


class Break(NamedTuple):
    """What is broken, by which replacements in which files, and which tests have to see it.

    Each replacement is exact, of a text that is there once: where the code has changed it is to
    be written anew.
    """

    what: str
    tests: str
    replacements: tuple[tuple[str, str, str], ...]  # file, and what is replaced by what


def broken(what, file, tests, *texts, also=()):
    replacements = [(file, *texts[at : at + 2]) for at in range(0, len(texts), 2)]
    return Break(what, tests, (*replacements, *([also] if also else [])))


QUICK = (
    broken(
        "the count of `lost` is off by one", "_bus/delivery.py", "lapped_readers",
        "progress, count = self.progress, last - first + 1\n",
        "progress, count = self.progress, last - first + 2\n",
    ),
    broken(
        "R5 is dropped", "_table/read.py", "corruption",
        "if crc32(_comma, crc32(memoryview(text)[1:-1], check)) != expected:  # R5",
        "if False:  # R5",
    ),
)  # fmt: skip

POST = (
    broken(
        "P1 does not empty the cells of a post that died", "_table/append.py", "append",
        "            if words[cell + CELL_EVENT] > last:\n", "            if False:\n",
    ),
    broken(
        "P1 begins the chain with 0", "_table/append.py", "append",
        "        through = last + number\n", "        through, check = last + number, 0\n",
    ),
    broken(
        "P2 does not raise INTENT", "_table/append.py", "lapped_readers",
        "            words[INTENT] = end  # P2", "            pass  # P2",
    ),
    broken(
        "P2 lowers INTENT", "_table/append.py", "append",
        "        if intent < end:\n", "        if True:\n",
    ),
    broken(
        "P2 comes after the bytes", "_table/append.py", "append",
        "            words[INTENT] = end  # P2", "            pass  # P2",
        "        words[LAST] = through  # P4",
        "        words[INTENT] = max(intent, end)\n        words[LAST] = through  # P4",
    ),
    broken(
        "P2 does not raise INTENT_ID", "_table/append.py", "exhaustion",
        "            words[INTENT_ID] = through  # P2", "            pass  # P2",
    ),
    broken(
        "P3 leaves the old mark of a claim", "_table/append.py", "claim",
        "start, check, 0)  # P3", "start, check, words[slot + 3])  # P3",
    ),
    broken(
        "P3 stores the id before the other fields", "_table/append.py", "reordered",
        "            words[slot] = 0  # P3", "            words[slot] = last  # P3",
    ),
    broken(
        "P4 comes before P3", "_table/append.py", "sigkill_at_every_step",
        "        place = start % size\n        if place + length",
        "        words[LAST] = through\n        place = start % size\n        if place + length",
    ),
    broken(
        "P4 comes before the slot", "_table/append.py", "sigkill_at_every_step",
        "            words[slot] = 0  # P3",
        "            words[LAST] = last\n            words[slot] = 0  # P3",
    ),
    broken(
        "the fence before P4 is dropped", "_table/append.py", "append reordered",
        "            _fence.fence()  # P4", "            pass  # P4",
    ),
    broken(
        "overflow=\"wait\" has room for one too many", "_table/room.py", "room",
        "most = self._layout.events - 1\n", "most = self._layout.events\n",
    ),
    broken(
        "NaN is encoded", "_bus/codec.py", "payloads",
        '":", ",", False, False, False\n', '":", ",", False, False, True\n',
    ),
)  # fmt: skip

POLL = (
    broken(
        "there is no chain, but a checksum of each event", "_table/append.py", "reordered",
        "            check = crc32(record, check)\n", "            check = crc32(record)\n",
        also=(
            "_table/read.py",
            "        if crc32(_comma, crc32(memoryview(text)[1:-1], check)) != expected:  # R5",
            "        single = through == before + 1\n"
            "        if single and crc32(_comma, crc32(memoryview(text)[1:-1])) != expected:  # R5",
        ),
    ),
    broken(
        "the fence after R1 is dropped", "_table/read.py", "reordered",
        "            _fence.fence()  # R1", "            pass  # R1",
    ),
    broken(
        "R4 is dropped", "_table/read.py", "exhaustion",
        "            words[slot] != through\n"
        "            or words[INTENT_ID] >= through + self._count\n"
        "            or words[INTENT] > end + size\n",
        "            False\n",
    ),
    broken(
        "a run is decoded past a bad record", "_bus/delivery.py", "delivery",
        " and len(records) == run.through - run.before and end == len(text):", ":",
    ),
    broken(
        "what follows the end of a run's text is passed over", "_bus/delivery.py", "delivery",
        " and end == len(text):", ":",
    ),
    broken(
        "POSITION comes after the handlers", "_bus/delivery.py", "delivery",
        "                words[position_at] = event_id  # before its handlers run\n", "",
        "                progress.finished = event_id\n            if local:",
        "                words[position_at] = event_id\n"
        "                progress.finished = event_id\n            if local:",
    ),
    broken(
        "a poll takes the lock to read", "_bus/delivery.py", "sigstop",
        "self._read(run.through, run.end, run.check) or self.table.read(run)",
        "self.table.lock.hold(self._read, run.through, run.end, run.check)",
    ),
    broken(
        "a forked child begins at the end", "_bus/joining.py", "fork",
        "            progress, seat.posted_before = resume.progress, resume.posted\n",
        "            progress, seat.posted_before = Progress(words[LAST]), resume.posted\n",
    ),
    broken(
        "a forked child runs its parent's event with `unique` again",
        "_bus/progress.py", "delivery",
        "again = not (by_handler or self.position == self.claimed)", "again = not by_handler",
    ),
)  # fmt: skip

CLAIM = (
    broken(
        "C1 does not look at the mark", "_table/claim.py", "clocks",
        "        if claimed:  # C1", "        if False:  # C1",
    ),
    broken(
        "C1 does not know its own mark", "_table/claim.py", "claim",
        "        if claimed == worker:  # C1", "        if False:  # C1",
    ),
    broken(
        "C2 does not mark the event as ignored", "_table/claim.py", "unique",
        "            words[slot + EVENT_CLAIMED] = holder | IGNORED\n", "",
    ),
    broken(
        "C4 does not store the mark", "_table/claim.py", "two_copies",
        "        words[slot + EVENT_CLAIMED] = worker  # C4", "        pass  # C4",
    ),
    broken(
        "a look for a key stops at the first expired place", "_table/claim.py", "claim",
        "            stretch = words[at : layout.claims_at + CLAIM_WORDS * stop].tobytes()\n",
        "            end = at\n"
        "            while end < layout.claims_at + CLAIM_WORDS * stop:\n"
        "                end += CLAIM_WORDS\n"
        "                if not self._is_alive(end - CLAIM_WORDS, now):\n"
        "                    break\n"
        "            stretch = words[at:end].tobytes()\n",
    ),
    broken(
        "a claim of the future is believed", "_table/claim.py", "claim",
        "bool(taken <= now < deadline)", "bool(taken and now < deadline)",
    ),
    broken(
        "keys are hashed alike on every bus", "_table/claim.py", "claim",
        "digest_size=16, key=self._epoch)", "digest_size=16)",
    ),
)  # fmt: skip

LOCK = (
    broken(
        "the lock is lockf", "_system/filelock.py", "two_copies",
        "from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock",
        "from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf as flock",
    ),
    broken(
        "the file is not locked", "_system/filelock.py", "two_copies",
        "                                flock(number, EXCLUSIVE_NOW)\n",
        "                                pass\n",
    ),
    broken(
        "the lock is not released after an exception", "_system/filelock.py", "interrupts",
        "                                try:\n"
        "                                    flock(number, LOCK_UN)\n"
        "                                except (OSError, ValueError):",
        "                                try:\n"
        "                                    pass\n"
        "                                except (OSError, ValueError):",
    ),
    broken(
        "what was published is refused where unlocking fails", "_system/filelock.py",
        "failing_calls", "if not (done and type(error) is OSError):", "if True:",
    ),
    broken(
        "the mark of the process is not looked at before the lock is taken",
        "_system/filelock.py", "fork_silent",
        "        if not self._mark.word[0]:\n            self._mark.check()  # not below",
        "        # ",
    ),
    broken(
        "the mark of the process is not looked at by a poll", "_bus/delivery.py", "delivery",
        "            if not self._mark.word[0]:\n                self._mark.check()\n"
        "            if progress.was_removed:",
        "            if progress.was_removed:",
        "        if not self._mark.word[0]:\n            self._mark.check()\n        for first",
        "        for first",
    ),
    broken(
        "a lock that is left over is not taken over", "_system/filelock.py", "left_over",
        "        if is_running(FileLock.hold", "        if True or is_running(FileLock.hold",
    ),
    broken(
        "the lock of a thread that has ended is not taken over", "_system/filelock.py",
        "left_over", "if self._threads.free_from_ended_thread():\n", "if False:\n",
    ),
    broken(
        "a turn that is left over is not taken over", "_system/threadlock.py", "left_over",
        "        if self.is_held_by(", "        if True or self.is_held_by(",
    ),
    broken(
        "a thread does not wait for the turn of another", "_system/threadlock.py", "threads",
        """if owner.setdefault("thread", me) != me:
                                self._wait(deadline, me)""",
        """owner.setdefault("thread", me)""",
    ),
    broken(
        "a post in a post of its own thread does not wait for it", "_system/filelock.py",
        "nested_posts",
        "        if owner and self.is_inside(sys._getframe(1)):", "        if False:",
    ),
    broken(
        "what was left to the interrupted call is forgotten", "_system/filelock.py",
        "nested_posts", "        self._threads.run_deferred()\n", "",
    ),
    broken(
        "a signal handler's poll runs handlers under the lock", "_bus/polling.py", "protocol",
        "if self.turn.is_inside() or life.is_nested():", "if self.turn.is_inside():",
    ),
    broken(
        "a signal handler closes under the lock that it interrupted", "_bus/life.py", "protocol",
        "        if self.is_nested():\n            if not isinstance(self.state, Closing)",
        "        if self._moving.is_inside():\n            if not isinstance(self.state, Closing)",
    ),
    broken(
        "a line is logged under the lock", "_table/claim.py", "foreign_code",
        "            words[slot + EVENT_CLAIMED] = holder | IGNORED\n",
        "            words[slot + EVENT_CLAIMED] = holder | IGNORED\n"
        "            from .._log import report\n\n"
        "            report('ignored: event %d', event_id, level=10)\n",
    ),
)  # fmt: skip

FORK = (
    broken(
        "a child forked during a close removes what is made since", "_system/folder.py",
        "fork_disturbed",
        "        return remove(path) if self._mark.word[0] else self._mark.check()\n",
        "        return remove(path)\n",
    ),
    broken(
        "a child posts in its hook", "_bus/life.py", "fork_silent",
        "        self.polling.start_again()\n", "        self._arrive_now()\n",
    ),
    broken(
        "nothing is done anew in a forked child", "_bus/hooks.py", "fork",
        "    after_in_child=_after_fork_in_child,\n", "",
    ),
    broken(
        "a child waits for the end of a fork that was its parent's", "_bus/loop.py", "loop",
        "        self._forks = []\n\n", "\n",
    ),
)  # fmt: skip

WAKE = (
    broken(
        "a loop's new thread does not look around before it sleeps", "_bus/loopthread.py", "loop",
        "self._next_look = 0.0  # on the clock", "self._next_look = monotonic() + LOOK_EVERY  #",
    ),
    broken(
        "W2 is dropped", "_bus/delivery.py", "bell",
        "return words[LAST] == self.progress.position and not self.progress.local  # W2",
        "return True  # W2",
    ),
    broken(
        "the fence between W1 and W2 is dropped", "_bus/delivery.py", "delivery",
        "        _fence.fence()  # between W1 and W2", "        # between W1 and W2",
    ),
    broken(
        "W4 does not clear WAITING", "_table/table.py", "bell",
        "            words[WAITING] = 0\n", "",
    ),
    broken(
        "W4 does not store RINGING", "_table/table.py", "append",
        "            words[RINGING] = 1\n", "",
    ),
    broken(
        "W4 does not look at RINGING", "_table/table.py", "append",
        "        if words[WAITING] or words[RINGING]:  # W4, after",
        "        if words[WAITING]:  # W4, after",
    ),
    broken(
        "RINGING is cleared without the lock", "_table/table.py", "append",
        "            words[RINGING] = 0\n", "",
        "            self.lock.hold(self._ring_for_sleepers)\n",
        "            self.lock.hold(self._ring_for_sleepers)\n"
        "            self.words[RINGING] = 0\n",
    ),
    broken(
        "another thread may close the bell while it is rung", "_table/table.py", "wait",
        "self.lock.hold_threads(self.ring)", "self.ring()",
    ),
)  # fmt: skip

COMING = (
    broken(
        "live workers are taken for dead", "_system/presence.py", "coming_and_going",
        "(alive if lives(folder, int(number)) else dead)",
        "(alive if int(number) % 2 and lives(folder, int(number)) else dead)",
    ),
    broken(
        "whoever leaves removes everything", "_bus/joining.py", "coming_and_going",
        "    if _has_live_worker(folder):\n        return False\n", "",
    ),
    broken(
        "a lock file that was unlinked is used", "_bus/joining.py", "protocol",
        " if self.folder.shows(LOCK, self.lock_file.number) else None\n", "\n",
    ),
    broken(
        "what was opened for a seat that nobody got stays open", "_bus/joining.py",
        "failing_calls", "        opened[-1].close()\n", "",
    ),
    broken(
        "a file that cannot be unlocked stays open", "_system/presence.py", "failing_calls",
        "        finally:\n            os.close(number)\n    except OSError:\n",
        "        finally:\n            pass\n        os.close(number)\n    except OSError:\n",
    ),
    broken(
        "short memory is joined", "_table/header.py", "corruption",
        "        if len(memory) < layout.total:", "        if False:",
        "    if len(memory) < Layout(SMALLEST).total:", "    if False:",
    ),
)  # fmt: skip

TOGETHER = (
    broken(
        "an event that was only taken counts as done", "_table/workers.py", "waits",
        "and pid and (position <= event_id or tasks)",
        "and pid and (position < event_id or tasks)",
    ),
    broken(
        "an event counts as done before its tasks are", "_table/standing.py", "waits",
        "        if not self._words[self._tasks_at]:\n", "        if True:\n",
    ),
    broken(
        "a leader does not look whether its file was removed", "_system/leads.py", "leads",
        "file is not None and file.is_linked()", "file is not None and file.is_ours()",
    ),
    broken(
        "a forked child keeps its copy of a lead", "_bus/seat.py", "leads",
        "        self.leads.close(unlock=bool(self.mark.word[0]))\n", "",
    ),
    broken(
        "a forked child unlocks its parent's lead", "_bus/seat.py", "leads",
        "unlock=bool(self.mark.word[0])", "unlock=True",
    ),
    broken(
        "an answer is taken for one to any question", "_bus/asking.py", "asks",
        "questions.get(int(number)) if comma", "[*questions.values()][-1] if comma",
    ),
    broken(
        "an asker does not wait for all answers", "_bus/asking.py", "asks",
        "        return not self._missing()\n", "        return True\n",
    ),
)  # fmt: skip

LONG = POST + POLL + CLAIM + LOCK + FORK + WAKE + COMING + TOGETHER
