"""The log of a bus in shared memory, and the protocols by which it is written and read.

`layout` has the byte map. Event `i` has slot `i % events`, which holds its id, where its text ends
in the ring (END), a checksum (CHECK) and who handles it (CLAIMED). It begins where event `i - 1`
ends, and its checksum continues that of event `i - 1`: a chain. Event 0 is all zeros, so an empty
bus is no special case.

What the slot of event `i` is:

    free        its id is less than i
    written     P3 is storing fields, text and id; LAST is still less than i
    published   LAST >= i: P4 has happened, and it is there for all
    claimed     published, and CLAIMED names the one worker that handles it
    ignored     published, and CLAIMED says that no worker does: its key was held
    reused      INTENT_ID >= i + events: that event is written, or published, or was to be

A slot is whole if its id is i and it is not reused.

Rules:

1. Only the holder of the lock writes, except that a worker stores POSITION, DONE, TASKS and its
   counts of its own slot, and whoever goes to sleep stores WAITING.
2. LAST is stored once for a post, of one event or of many, last of all (P4). Before that there is
   nothing to see, and after a death nothing to repair: the next poster begins at P1 again, with
   the same id, from the slot of LAST.
3. The bytes of the ring from INTENT - size on are whole. INTENT is raised before a byte is written
   (P2) and never lowered; it is ahead of the last event's END if a poster died.
4. The slots of the ids from INTENT_ID + 1 - events on are whole. INTENT_ID is raised, and may be
   ahead, likewise. Where an event is read by its slots, the one before it has to be whole as well:
   so there are events - 1 at the most, also for who must not overwrite.
5. A copy of the events after `a` up to `b` is what was published if, after it was made, the slot of
   `b` is whole and INTENT has not passed END of `a` + size (R4), and if the checksum of the copy,
   begun with CHECK of `a`, is CHECK of `b` (R5). The chain is for processors that reorder, and for
   damage; a checksum of each event alone would take one that was never published for the one that
   was.
6. That an event is lost, or damaged, is believed only under the lock: whoever stored anything has
   had it. What a reader finds without it (LAST, R1; that event's slot, R2; a copy of the text, R3)
   is either sound, by rule 5, or looked at once more.
7. Where a post ended before P4, INTENT or INTENT_ID is ahead. The next poster empties the cells of
   the header whose event is beyond LAST first of all (P1): else the event that gets the id now
   would publish what the dead one had with it.
8. A mark in its slot, never the key alone, decides who handles an event with `unique`: it is looked
   at first (C1), and stored last (C4). So it holds for workers that come to it late, when its key
   has long expired. An event whose key is held is marked as ignored (C2).
9. A key stands in at most one of its places. A look reads all of them, and takes a free or expired
   one only if the key is in none (C3).
10. A sleeper stores WAITING (W1) and looks at LAST (W2), a fence in between; a poster stores LAST
    (P4) and looks at WAITING (W4), a system call in between. So one of them sees the other, and
    only who has seen nothing sleeps (W3). RINGING is 1 while somebody rings: who finds it left over
    by a death rings again.
"""

from __future__ import annotations
