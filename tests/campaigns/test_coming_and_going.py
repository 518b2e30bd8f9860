"""Create, join, leave and stale take-over, by 16 processes that start at once, from a barrier.

A round is one of these: all come, and go, in any order; some are there, and go while the others
come; or all are killed where they are, some in the middle of it, and what they leave is taken over.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from struct import Struct

from children import SECONDS
from inside import epoch_of, folder_of, memory_file_of

import stdevents

PROCESSES = 16
ALL, EVEN, ODD, FIRST, LAST, ENDS = range(6)
GROUPS = tuple(
    frozenset(range(PROCESSES)[part])
    for part in (slice(None), slice(0, None, 2), slice(1, None, 2), slice(1), slice(-1, None))
)
GROUPS += (GROUPS[FIRST] | GROUPS[LAST],)
HANDOVERS = ((EVEN, ALL, ODD), (ODD, ALL, EVEN), (FIRST, ENDS, LAST), (LAST, ENDS, FIRST))
said = Struct("=qQ")  # number of the process, epoch of the bus that it is on, or 0


class Barrier:
    """Where children wait in two pipes by turns, until one write lets all of them go."""

    def __init__(self, fork, name):
        self._fork = fork
        self._name = name
        self._turns = [os.pipe() for _ in range(2)]
        self._turn = 0
        self._said = os.pipe()
        self.children = []
        self._fill()

    def _fill(self):
        for number in range(PROCESSES):
            arguments = self._name, number, self._turns, self._turn, self._said[1]
            self.children.append(self._fork(live, *arguments))

    def let_go(self, who):
        """Have them come if they are away, and go if they are there; the epochs of all then."""
        os.write(self._turns[self._turn][1], bytes([who]) * PROCESSES)
        self._turn ^= 1
        heard = {}
        while len(heard) < PROCESSES:
            if select.select([self._said[0]], [], [], 1)[0]:
                number, epoch = said.unpack(os.read(self._said[0], said.size))
                heard[number] = epoch
            else:
                for child in self.children:
                    child.hear_new()  # that it has failed, perhaps
        return [heard[number] for number in range(PROCESSES)]

    def replace_all(self, some):
        """Kill all of them, when `some` have just been let go, and make new ones."""
        os.write(self._turns[self._turn][1], bytes([ALL]) * some)
        self.kill_all()
        for end in (self._turns[self._turn][0], self._said[0]):
            os.set_blocking(end, False)
            with contextlib.suppress(BlockingIOError):
                os.read(end, 1 << 16)
            os.set_blocking(end, True)
        self._fill()

    def kill_all(self):
        for child in self.children:
            os.kill(child.pid, signal.SIGKILL)
        for child in self.children:
            child.wait()
        self.children.clear()

    def close(self):
        self.kill_all()
        for end in (*self._turns[0], *self._turns[1], *self._said):
            os.close(end)


def live(parent, name, number, turns, turn, saying):
    """Come and go, and say each time where one is."""
    bus = stdevents.Bus()
    epoch = 0
    while True:
        signal.alarm(SECONDS)
        (who,) = os.read(turns[turn][0], 1)
        turn ^= 1
        if number in GROUPS[who]:
            if epoch:
                bus.close()
                epoch = 0
            else:
                bus.configure(name, size=1024, interval=0, wait_max=30)
                epoch = epoch_of(bus)
        os.write(saying, said.pack(number, epoch))


class Account:
    """Looks at the epochs of all after each step, and counts what is wrong with them."""

    def __init__(self, campaign, name):
        self.campaign = campaign
        self.paths = (folder_of(name), memory_file_of(name))
        self.current = 0
        self.known = set()

    def settle(self, epochs, there):
        """So many have to be there, all of them on one bus: the current one, or quite another."""
        found = set(epochs) - {0}
        self.campaign.count("unexpected", sum(map(bool, epochs)) != there)
        self.campaign.count("unexpected", len(found) != bool(there))
        self.campaign.count("unexpected", bool((found - {self.current}) & self.known))
        self.current = max(found, default=0)
        self.known |= found
        if not there:
            self.campaign.count("unexpected", any(map(os.path.lexists, self.paths)))


def test_coming_and_going(campaign, name, fork):
    """G9, G5: one bus, everybody on the same one, another one each time, and nothing left."""
    rounds = campaign.size(150, 50_000)
    chance = campaign.random
    barrier = Barrier(fork, name)
    account = Account(campaign, name)
    for number in range(rounds):
        kind = chance.random()
        if kind < 0.5:
            account.settle(barrier.let_go(ALL), PROCESSES)
            account.settle(barrier.let_go(ALL), 0)
        elif kind < 0.98:
            there, both, coming = chance.choice(HANDOVERS)
            account.settle(barrier.let_go(there), len(GROUPS[there]))
            account.settle(barrier.let_go(both), len(GROUPS[coming]))
            account.settle(barrier.let_go(coming), 0)
        else:
            there = chance.random() < 0.5
            if there:
                account.settle(barrier.let_go(ALL), PROCESSES)
            barrier.replace_all(chance.randrange(PROCESSES + 1))
            # Left behind by the dead, it is nobody's.
            account.current = 0
            account.settle(barrier.let_go(ALL), PROCESSES)
            account.settle(barrier.let_go(ALL), 0)
            campaign.count("taken over", there)
        if number % 100 == 0:
            campaign.progress("coming and going", number)
    barrier.close()
    assert len(account.known) >= rounds
    campaign.end("coming and going", rounds)
