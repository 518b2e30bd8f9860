/* Preloaded into a Python: has system calls of it fail, and its clock jump.

   Only what goes through the C library is seen here, once for each call of the interpreter's. All
   is done by the exported variables, which the program sets (intervene.py). */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int armed;                 /* are calls counted, and made to fail? */
long seen;                 /* calls since it was last set to 0 */
long fail_at, fail_count;  /* number of the first one that fails, and how many from there on */
int fail_with;             /* errno */
long failed;               /* how many have */
char last_failed[32];      /* the name of the last one */
long long clock_offset;    /* seconds that CLOCK_REALTIME is wrong by */

static int fails(const char *name)
{
    if (!__atomic_load_n(&armed, __ATOMIC_SEQ_CST))
        return 0;
    long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (number < fail_at || number >= fail_at + fail_count)
        return 0;
    __atomic_add_fetch(&failed, 1, __ATOMIC_SEQ_CST);
    strncpy(last_failed, name, sizeof last_failed - 1);
    errno = fail_with;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRAP(result, name, parameters, arguments, failure) \
    result name parameters                                 \
    {                                                      \
        static __typeof__(&name) real;                     \
        if (!real)                                         \
            real = REAL(name);                             \
        if (fails(#name))                                  \
            return failure;                                \
        return real arguments;                             \
    }

/* Those with a mode, or an argument, that is not always there. */
#define WRAP_OPEN(name)                                                       \
    int name(const char *path, int flags, ...)                                \
    {                                                                         \
        va_list rest;                                                         \
        va_start(rest, flags);                                                \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                         \
        return fails(#name) ? -1 : REAL(name)(path, flags, mode);             \
    }

#define WRAP_FCNTL(name)                                                      \
    int name(int file, int command, ...)                                      \
    {                                                                         \
        va_list rest;                                                         \
        va_start(rest, command);                                              \
        long argument = va_arg(rest, long);                                   \
        va_end(rest);                                                         \
        if (command == F_DUPFD_CLOEXEC && fails("dup"))                       \
            return -1;                                                        \
        return REAL(name)(file, command, argument);                           \
    }

/* Of files: by others the interpreter gets its own memory. */
#define WRAP_MMAP(name)                                                       \
    void *name(void *at, size_t length, int access, int flags, int file, off_t from) \
    {                                                                         \
        if (!(flags & MAP_ANONYMOUS) && fails(#name))                         \
            return MAP_FAILED;                                                \
        return REAL(name)(at, length, access, flags, file, from);             \
    }

ssize_t write(int file, const void *bytes, size_t length)
{
    /* It has to be able to say what is wrong. */
    return file > STDERR_FILENO && fails("write") ? -1 : REAL(write)(file, bytes, length);
}

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)
WRAP(int, flock, (int file, int what), (file, what), -1)
WRAP_MMAP(mmap)
WRAP_MMAP(mmap64)
WRAP(int, ftruncate, (int file, off_t length), (file, length), -1)
WRAP(int, ftruncate64, (int file, off64_t length), (file, length), -1)
WRAP(int, posix_fallocate, (int file, off_t from, off_t length), (file, from, length), errno)
WRAP(int, posix_fallocate64, (int file, off64_t from, off64_t length), (file, from, length), errno)
WRAP(ssize_t, read, (int file, void *bytes, size_t length), (file, bytes, length), -1)
WRAP(int, pipe2, (int ends[2], int flags), (ends, flags), -1)
WRAP(int, epoll_create1, (int flags), (flags), -1)
WRAP(int, epoll_ctl, (int epoll, int what, int file, struct epoll_event *event),
     (epoll, what, file, event), -1)
WRAP(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout),
     (epoll, events, most, timeout), -1)
WRAP(int, shm_open, (const char *name, int flags, mode_t mode), (name, flags, mode), -1)
WRAP(int, shm_unlink, (const char *name), (name), -1)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
WRAP(int, mkfifo, (const char *path, mode_t mode), (path, mode), -1)
WRAP(int, unlink, (const char *path), (path), -1)
WRAP(int, rmdir, (const char *path), (path), -1)
WRAP(DIR *, opendir, (const char *path), (path), NULL)
/* Not fstat: of a file that is open it does not fail. */
#ifdef _STAT_VER /* until glibc 2.33 stat had another name */
WRAP(int, __lxstat64, (int version, const char *path, struct stat64 *status),
     (version, path, status), -1)
#else
WRAP(int, lstat64, (const char *path, struct stat64 *status), (path, status), -1)
#endif

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static __typeof__(&clock_gettime) real;
    if (!real)
        real = REAL(clock_gettime);
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += __atomic_load_n(&clock_offset, __ATOMIC_SEQ_CST);
    return result;
}
