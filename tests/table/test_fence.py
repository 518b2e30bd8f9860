"""Why a fence stands between W1 and W2: a processor lets a load pass a store of another word.

Shown by a program in C: two threads that each store a word of their own, and load the other's, at
the same instant, as who goes to sleep and who posts. One of them at least has to see the other.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess

import pytest

TRIES = 20_000

STRESS = """
#include <pthread.h>
#include <stdatomic.h>

static struct { _Alignas(128) _Atomic long word; } go[2], stored[2];
static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static long tries, fences;
static char missed[2][MOST];

static void *side(void *argument)
{
    long me = (long)argument;
    for (long n = 1; n <= tries; n++) {
        atomic_store(&go[me].word, n);
        while (atomic_load(&go[!me].word) < n)
            ;
        atomic_store_explicit(&stored[me].word, n, memory_order_relaxed);
        for (long taken = 0; taken < 2 * fences; taken++) {
            pthread_mutex_lock(&locks[me]);
            pthread_mutex_unlock(&locks[me]);
        }
        missed[me][n - 1] = atomic_load_explicit(&stored[!me].word, memory_order_relaxed) < n;
    }
    return 0;
}

long misses(long how_often, long with_fences)
{
    pthread_t other;
    long count = 0;
    tries = how_often;
    fences = with_fences;
    for (int me = 0; me < 2; me++)
        go[me].word = stored[me].word = 0;
    pthread_create(&other, 0, side, (void *)1L);
    side(0);
    pthread_join(other, 0);
    for (long n = 0; n < tries; n++)
        count += missed[0][n] && missed[1][n];
    return count;
}
"""


@pytest.fixture
def misses(tmp_path):
    """`misses(fences)`: in how many of TRIES neither thread has seen the other."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc)")
    source, library = tmp_path / "stress.c", tmp_path / "stress.so"
    source.write_text(STRESS.replace("MOST", str(TRIES)))
    command = [compiler, "-shared", "-fPIC", "-O2", "-pthread", "-o", library, source]
    subprocess.run([str(word) for word in command], check=True)
    function = ctypes.CDLL(str(library)).misses
    function.argtypes, function.restype = [ctypes.c_long, ctypes.c_long], ctypes.c_long
    return lambda fences: function(TRIES, fences)


def test_a_lock_taken_twice_keeps_a_load_behind_a_store(misses):
    """W: taking and releasing it twice is what `fence` does."""
    assert misses(1) == 0
    if not misses(0):
        pytest.skip(f"{platform.machine()} shows no miss without a fence, just now")
