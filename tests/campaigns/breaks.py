"""The breaks of test_campaigns_bite.py: the protocol, wrong in one place each."""

from __future__ import annotations

from typing import NamedTuple


class Break(NamedTuple):
    """What is broken, by which replacements in which file, and which tests have to see it.

    Each replacement is exact, of a text that is there once: where the code has changed it is to
    be written anew.
    """

    what: str
    file: str
    tests: str
    replacements: tuple[tuple[str, str], ...]


def broken(what, file, tests, *texts):
    return Break(what, file, tests, tuple(zip(texts[::2], texts[1::2])))


QUICK = (
    broken(
        "the count of `lost` is off by one", "_bus/session.py", "lapped_readers",
        "count = last - self.position\n", "count = last - self.position + 1\n",
    ),
    broken(
        "R5 is dropped", "_table/table.py", "corruption",
        "if crc32(fields + payload, event_id & 0xFFFFFFFF) != checksum:  # R5", "if False:  # R5",
    ),
)  # fmt: skip

LONG = (
    broken(
        "live workers are taken for dead", "_table/workers.py", "coming_and_going",
        "        if is_live(folder, slot):\n", "        if is_live(folder, slot) and slot % 2:\n",
    ),
    broken(
        "P4 comes before P3", "_table/table.py", "sigkill_at_every_step",
        "            words[slot] = event_id  # P3",
        "            words[LAST] = event_id\n            words[slot] = event_id  # P3",
    ),
    broken(
        "P4 comes before the payload", "_table/table.py", "sigkill_at_every_step",
        "            words[slot] = 0  # P3",
        "            words[LAST] = event_id\n            words[slot] = 0  # P3",
    ),
    broken(
        "P2 does not raise INTENT", "_table/table.py", "lapped_readers",
        "            words[INTENT] = end  # P2", "            pass  # P2",
    ),
    broken(
        "P2 comes after the bytes", "_table/table.py", "protocol",
        "            words[INTENT] = end  # P2", "            pass  # P2",
        "        words[LAST] = through  # P4",
        "        words[INTENT] = end\n        words[LAST] = through  # P4",
    ),
    broken(
        "P2 does not raise INTENT_ID", "_table/table.py", "post_many",
        "            words[INTENT_ID] = through  # P2", "            pass  # P2",
    ),
    broken(
        "P3 leaves the old mark of a claim", "_table/table.py", "clocks",
        "flags, checksum, 0)\n", "flags, checksum, words[slot + EVENT_CLAIMED])\n",
    ),
    broken(
        "R4 is dropped", "_table/table.py", "protocol",
        "if self._is_reused(first):  # R4", "if False:  # R4",
    ),
    broken(
        "R5 does not cover the id", "_table/table.py", "protocol",
        "crc32(fields + payload, event_id & 0xFFFFFFFF)\n", "crc32(fields + payload)\n",
        "if crc32(fields + payload, event_id & 0xFFFFFFFF) != checksum:  # R5",
        "if crc32(fields + payload) != checksum:  # R5",
    ),
    broken(
        "C1 does not look at the mark", "_table/table.py", "clocks",
        "        if words[slot + EVENT_CLAIMED]:  # C1", "        if False:  # C1",
    ),
    broken(
        "C4 does not store the mark", "_table/table.py", "two_copies",
        "        words[slot + EVENT_CLAIMED] = self._pid  # C4", "        pass  # C4",
    ),
    broken(
        "a poll takes the lock to read", "_bus/session.py", "sigstop",
        "self.table.read(self.position)\n        if records",
        "self.table.exclusively(self.table.read, self.position)\n        if records",
    ),
    broken(
        "the lock is lockf", "_system/filelock.py", "two_copies",
        "from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock",
        "from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf as flock",
    ),
    broken(
        "the file is not locked", "_system/filelock.py", "two_copies",
        "            flock(self._descriptor, EXCLUSIVE_NOW)", "            pass",
    ),
    broken(
        "a forked child begins at the end", "_bus/bus.py", "fork",
        "renewed = Session(session.segment, worker, session.position, self._handlers)\n",
        "last = session.segment.words[LAST]\n"
        "                renewed = Session(session.segment, worker, last, self._handlers)\n",
    ),
    broken(
        "the lock is not released after an exception", "_table/table.py", "interrupts",
        "                self._publish()\n        finally:\n            self._lock.release()",
        "                self._publish()\n        finally:\n            pass",
    ),
    broken(
        "the lock is kept for what a signal handler left when a post was refused",
        "_table/table.py", "protocol",
        "            self._lock.release()\n            self._publish_late()\n        if isinstance",
        "            self._lock.release()\n        if isinstance",
    ),
    broken(
        "the lock is not released when a refusal is interrupted", "_table/table.py", "protocol",
        "            except StdeventsError:  # refused;",
        "            except ZeroDivisionError:  # refused;",
    ),
    broken(
        "a signal handler that interrupts a wait for the lock works without", "_table/table.py",
        "guarantees",
        "            self._lock.acquire()\n            self._left_late = True\n", "",
    ),
    broken(
        "a signal handler's poll runs handlers under the lock", "_bus/bus.py", "protocol",
        "turn.mine() or session.segment.lock.mine() or self._is_opener():", "turn.mine():",
    ),
    broken(
        "a signal handler that closes does not finish what it interrupted",
        "_bus/bus.py", "protocol",
        "                session.table.finish()\n", "", "            session.table.finish()\n", "",
    ),
    broken(
        "a file that cannot be locked stays open", "_table/workers.py", "failing_calls",
        "        os.close(descriptor)\n        if isinstance", "        if isinstance",
    ),
    broken(
        "a post amid a post of its own thread waits", "_table/table.py", "posts_amid_posts",
        "        if lock.owner and lock.mine():\n            return",
        "        if False:\n            return",
    ),
    broken(
        "nothing is done anew in a forked child", "_bus/hooks.py", "fork",
        "    after_in_child=_after_fork_in_child,\n", "",
    ),
    broken(
        "W4 does not clear WAITING", "_table/table.py", "bell",
        "                self._words[WAITING] = 0\n", "",
    ),
    broken(
        "whoever leaves removes everything", "_bus/segment.py", "coming_and_going",
        "    if _workers.live_slots(segment.folder, None):\n        return False\n", "",
    ),
    broken(
        "a lock file that was unlinked is used", "_bus/segment.py", "protocol",
        "            if segment.has_current_lock():\n                yield",
        "            if True:\n                yield",
    ),
    broken(
        "short memory is joined", "_bus/segment.py", "corruption",
        "        if memory.size < layout.total:", "        if False:",
        "    if memory.size < Layout(SMALLEST).total:", "    if False:",
    ),
    broken(
        "overflow=\"wait\" has room for one too many", "_table/table.py", "overflow",
        "if through > taken + self._events\n", "if through > taken + self._events + 1\n",
    ),
    broken(
        "NaN is encoded", "_bus/codec.py", "payloads",
        '":", ",", False, False, False\n', '":", ",", False, False, True\n',
    ),
)  # fmt: skip
