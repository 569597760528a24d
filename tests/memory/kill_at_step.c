/* Preloaded into a process that writes an archive: kills it at the n-th call that changes a file.
 *
 * kill_at(n, 0) begins to count and dies before that call; kill_at(n, 1) dies after half of its bytes, where the call
 * has bytes. Descriptors 0 to 2 are the test's own pipes. What the kernel writes for a memory map is no call; msync is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long left = -1;
static int torn;

void kill_at(long step, int half) {
    torn = half;
    atomic_store(&left, step);
}

static int is_last(void) { return atomic_load(&left) > 0 && atomic_fetch_sub(&left, 1) == 1; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITES(name, offset_t)                                                                     \
    ssize_t name(int fd, const void *data, size_t size, offset_t at) {                             \
        if (fd > 2 && is_last()) {                                                                 \
            if (torn) REAL(name)(fd, data, size / 2, at);                                      \
            die();                                                                                 \
        }                                                                                          \
        return REAL(name)(fd, data, size, at);                                                     \
    }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
    if (fd > 2 && is_last()) {
        if (torn) REAL(write)(fd, data, size / 2);
        die();
    }
    return REAL(write)(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (fd > 2 && is_last()) {
        if (torn) REAL(writev)(fd, parts, count / 2);
        die();
    }
    return REAL(writev)(fd, parts, count);
}

#define STEP(type, name, parameters, arguments)                                                    \
    type name parameters {                                                                         \
        if (is_last()) die();                                                                      \
        return REAL(name) arguments;                                                               \
    }
STEP(int, fsync, (int fd), (fd))
STEP(int, fdatasync, (int fd), (fd))
STEP(int, ftruncate, (int fd, off_t size), (fd, size))
STEP(int, ftruncate64, (int fd, off64_t size), (fd, size))
STEP(int, unlink, (const char *path), (path))
STEP(int, rename, (const char *from, const char *to), (from, to))
STEP(int, mkdir, (const char *path, mode_t mode), (path, mode))
STEP(int, msync, (void *at, size_t size, int flags), (at, size, flags))
