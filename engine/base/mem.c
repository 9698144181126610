/*
 * Allocation over jemalloc or the system's malloc, figures and fault injection.
 *
 * jemalloc is linked unprefixed, so malloc itself is jemalloc's; only the statistics need its own
 * interface. The fault countdown and the descriptor of /proc/self/statm are process-wide, like
 * the heap they belong to.
 */
#include "engine/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef TIERRA_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "engine/base/check.h"

#ifdef TIERRA_HAVE_JEMALLOC
/*
 * Read by jemalloc at start. Unused pages go back to the kernel within a fifth of a second, by a
 * thread of jemalloc's own, because maxmemory bounds the resident set.
 */
const char *malloc_conf = "background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0";
#endif

/* 0 while off; else the calls that are left until the first one fails, that one included. */
static _Atomic uint64_t fault_countdown;
static _Atomic uint64_t fault_repeat;
static _Atomic uint64_t fault_hits;

/* Opened once, never closed: -1 until then. */
static _Atomic int statm_fd = -1;

static NORETURN NOINLINE void mem_exhausted(void)
{
    /*
     * Budgets refuse work long before this; there is no way to go on from the middle of an apply.
     */
    check_fail("out of memory", __FILE__, __LINE__);
}

void *mem_alloc(size_t size)
{
    void *ptr = malloc(size);

    /* malloc(0) may return NULL by the standard; neither glibc nor jemalloc does. */
    if (unlikely(ptr == NULL))
        mem_exhausted();
    return ptr;
}

void *mem_zalloc(size_t size)
{
    return mem_zalloc_array(1, size);
}

void *mem_zalloc_array(size_t count, size_t size)
{
    void *ptr = calloc(count, size);

    if (unlikely(ptr == NULL))
        mem_exhausted();
    return ptr;
}

void *mem_realloc(void *ptr, size_t size)
{
    /* realloc(p, 0) frees in glibc: a block of one byte keeps "never NULL" true. */
    void *moved = realloc(ptr, size == 0 ? 1 : size);

    if (unlikely(moved == NULL))
        mem_exhausted();
    return moved;
}

void *mem_alloc_aligned(size_t alignment, size_t size)
{
    void *ptr = NULL;
    const int err = posix_memalign(&ptr, alignment, size);

    CHECK(err != EINVAL);
    if (unlikely(err != 0 || ptr == NULL))
        mem_exhausted();
    return ptr;
}

char *mem_strdup(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);

    memcpy(copy, text, size);
    return copy;
}

/* The slow path of fault_now, with faults armed. */
static NOINLINE bool fault_count(void)
{
    uint64_t left = atomic_load(&fault_countdown);

    /* The countdown stays at 1 while the repeats last; each failing call takes one of them. */
    while (left > 1) {
        if (atomic_compare_exchange_weak(&fault_countdown, &left, left - 1))
            return false;
    }
    if (left == 0)
        return false;
    uint64_t repeat = atomic_load(&fault_repeat);
    while (repeat > 0 && !atomic_compare_exchange_weak(&fault_repeat, &repeat, repeat - 1)) {
    }
    if (repeat == 0)
        atomic_store(&fault_countdown, 0);
    (void)atomic_fetch_add(&fault_hits, 1);
    return true;
}

static inline bool fault_now(void)
{
    return unlikely(atomic_load_explicit(&fault_countdown, memory_order_relaxed) != 0) &&
           fault_count();
}

void *mem_try_alloc(size_t size)
{
    return fault_now() ? NULL : malloc(size);
}

void *mem_try_zalloc(size_t size)
{
    return fault_now() ? NULL : calloc(1, size);
}

void *mem_try_realloc(void *ptr, size_t size)
{
    return fault_now() ? NULL : realloc(ptr, size == 0 ? 1 : size);
}

void mem_free(void *ptr)
{
    free(ptr);
}

void mem_free_sized(void *ptr, size_t size)
{
#ifdef TIERRA_HAVE_JEMALLOC
    sdallocx(ptr, size, 0);
#else
    (void)size;
    free(ptr);
#endif
}

size_t mem_usable(const void *ptr)
{
    /* The parameter of malloc_usable_size is not const for historical reasons only. */
    union {
        const void *in;
        void *out;
    } unconst = {.in = ptr};

    return malloc_usable_size(unconst.out);
}

void mem_fault_set(uint64_t n, uint64_t repeat)
{
    atomic_store(&fault_countdown, 0);
    atomic_store(&fault_hits, 0);
    atomic_store(&fault_repeat, repeat);
    atomic_store(&fault_countdown, n);
}

uint64_t mem_fault_hits(void)
{
    return atomic_load(&fault_hits);
}

#ifdef TIERRA_HAVE_JEMALLOC

/* 0 if the allocator does not know the name. */
static uint64_t jemalloc_stat(const char *name)
{
    size_t value = 0;
    size_t size = sizeof(value);

    return mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

void mem_stats(struct mem_stats *out)
{
    /* The statistics are a snapshot that this write renews. */
    uint64_t epoch = 1;
    size_t size = sizeof(epoch);

    (void)mallctl("epoch", &epoch, &size, &epoch, size); /* Failure leaves the figures stale. */
    *out = (struct mem_stats){
        .allocated = jemalloc_stat("stats.allocated"),
        .active = jemalloc_stat("stats.active"),
        .resident = jemalloc_stat("stats.resident"),
        .retained = jemalloc_stat("stats.retained"),
    };
}

#define TEXT_OF_(x) #x
#define TEXT_OF(x)  TEXT_OF_(x)

const char *mem_allocator(void)
{
    return "jemalloc-" TEXT_OF(JEMALLOC_VERSION_MAJOR) "." TEXT_OF(
        JEMALLOC_VERSION_MINOR) "." TEXT_OF(JEMALLOC_VERSION_BUGFIX);
}

void mem_purge(void)
{
    char name[32];
    const int len = snprintf(name, sizeof(name), "arena.%u.purge", (unsigned)MALLCTL_ARENAS_ALL);

    CHECK(len > 0 && (size_t)len < sizeof(name));
    (void)mallctl(name, NULL, NULL, NULL, 0); /* Advice only. */
}

#else

void mem_stats(struct mem_stats *out)
{
    const struct mallinfo2 info = mallinfo2();

    *out = (struct mem_stats){
        .allocated = info.uordblks + info.hblkhd,
        .active = info.arena + info.hblkhd - info.keepcost,
        .resident = mem_rss_bytes(),
        .retained = info.fordblks,
    };
}

const char *mem_allocator(void)
{
    return "libc";
}

void mem_purge(void)
{
    (void)malloc_trim(0); /* Says only whether something was given back. */
}

#endif

/* The descriptor of /proc/self/statm, or -1. Of two threads that open it at once one wins. */
static int statm_open(void)
{
    int fd = atomic_load(&statm_fd);

    if (fd >= 0)
        return fd;
    const int opened = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (opened < 0)
        return -1;
    if (atomic_compare_exchange_strong(&statm_fd, &fd, opened))
        return opened;
    (void)close(opened); /* Read only. */
    return fd;
}

uint64_t mem_rss_bytes(void)
{
    char text[128];
    const int fd = statm_open();
    const ssize_t len = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

    if (len <= 0)
        return 0;
    text[len] = '\0';
    /* "size resident shared ...", in pages. */
    const char *resident = strchr(text, ' ');
    if (resident == NULL)
        return 0;
    const long page_bytes = sysconf(_SC_PAGESIZE);
    return strtoull(resident + 1, NULL, 10) * (uint64_t)(page_bytes > 0 ? page_bytes : 4096);
}
