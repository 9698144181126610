/*
 * What the tests of the reactor share: a reactor of the backend under test, and sockets that write
 * down what happens to them.
 *
 * Every test program runs its tests once per backend; io_uring is skipped where the kernel refuses
 * it.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_REACTOR_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_REACTOR_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"

#include "engine/io/reactor.h"
#include "engine/io/thread.h"

#include "tests/lib/tcase.h"

/* How long a test waits for what it is sure to see: a bound for what hangs, not for what is slow.
 */
#define WAIT_NS_MAX (180 * UINT64_C(1000000000))

/* The backend of the present run, and how its reactors are made. */
static enum reactor_backend fixture_backend;

struct fixture {
    struct reactor *r;
    uint32_t turns;
};

static void fixture_on_turn(void *ctx)
{
    struct fixture *f = ctx;

    f->turns++;
}

static inline int fixture_setup_with(void **state, struct reactor_options options)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    options.backend = fixture_backend;
    assert_int_equal(reactor_create(&options, &f->r), 0);
    reactor_set_turn_hook(f->r, fixture_on_turn, f);
    *state = f;
    return 0;
}

static inline int fixture_setup(void **state)
{
    return fixture_setup_with(state, (struct reactor_options){.max_conns = 100});
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    /* Open sockets are left by a test that failed: then the message matters, not the memory. */
    if (reactor_metrics(f->r)->socks == 0)
        reactor_destroy(f->r);
    mem_free(f);
    return 0;
}

/* Runs turns until `condition` holds; fails if it never does. */
#define RUN_UNTIL(f, condition)                              \
    do {                                                     \
        const uint64_t run_from_ns = clock_mono_ns();        \
        while (!(condition)) {                               \
            if (clock_mono_ns() - run_from_ns > WAIT_NS_MAX) \
                fail_msg("never came true: %s", #condition); \
            reactor_run_once((f)->r, 20);                    \
        }                                                    \
    } while (0)

/* A few turns in which nothing more should happen. */
static inline void run_a_while(struct fixture *f)
{
    for (uint32_t i = 0; i < 5; i++)
        reactor_run_once(f->r, 2);
}

/* A socket that keeps what it gets. */
struct probe {
    struct reactor_sock sock;
    struct fixture *f;
    struct buf got;
    uint32_t data_calls;
    uint32_t ends;
    uint32_t sents;
    uint32_t closes;
    uint32_t connects;
    int end_err;
    int sent_err;
    int connect_err;
    bool paused;    /* Then no data may come. */
    bool must_rest; /* Then nothing but on_closed may come. */
    bool close_on_data;
    bool close_on_end;
    bool close_on_sent;
    bool echo;
    struct iovec iov;
    uint8_t echo_bytes[256];
};

static inline void probe_close(struct probe *p)
{
    p->must_rest = true;
    reactor_sock_close(&p->sock);
}

static void probe_on_data(struct reactor_sock *s, const uint8_t *ptr, size_t len)
{
    struct probe *p = container_of(s, struct probe, sock);

    assert_false(p->must_rest);
    assert_false(p->paused);
    assert_int_equal(p->ends, 0);
    assert_in_range(len, 1, REACTOR_DATA_BYTES_MAX);
    p->data_calls++;
    assert_int_equal(buf_append(&p->got, ptr, len), 0);
    if (p->close_on_data)
        probe_close(p);
    if (p->echo && !reactor_sock_sending(s)) {
        const size_t n = size_min(len, sizeof(p->echo_bytes));
        memcpy(p->echo_bytes, ptr, n);
        p->iov = (struct iovec){.iov_base = p->echo_bytes, .iov_len = n};
        assert_true(reactor_sock_send(s, &p->iov, 1) >= 0);
    }
}

static void probe_on_end(struct reactor_sock *s, int err)
{
    struct probe *p = container_of(s, struct probe, sock);

    assert_false(p->must_rest);
    assert_false(p->paused);
    p->ends++;
    p->end_err = err;
    if (p->close_on_end)
        probe_close(p);
}

static void probe_on_sent(struct reactor_sock *s, int err)
{
    struct probe *p = container_of(s, struct probe, sock);

    assert_false(p->must_rest);
    p->sents++;
    p->sent_err = err;
    if (p->close_on_sent)
        probe_close(p);
}

static void probe_on_closed(struct reactor_sock *s)
{
    struct probe *p = container_of(s, struct probe, sock);

    assert_true(p->must_rest);
    p->closes++;
}

static void probe_on_connect(struct reactor_sock *s, int err)
{
    struct probe *p = container_of(s, struct probe, sock);

    assert_false(p->must_rest);
    p->connects++;
    p->connect_err = err;
}

static const struct reactor_sock_ops probe_ops = {
    .on_data = probe_on_data,
    .on_end = probe_on_end,
    .on_sent = probe_on_sent,
    .on_closed = probe_on_closed,
    .on_connect = probe_on_connect,
};

static inline struct probe *probe_create(struct fixture *f)
{
    struct probe *p = mem_zalloc(sizeof(*p));

    p->f = f;
    buf_init(&p->got, 64u << 20);
    return p;
}

static inline struct probe *probe_open(struct fixture *f, int fd)
{
    struct probe *p = probe_create(f);

    assert_int_equal(reactor_sock_open(f->r, &p->sock, fd, &probe_ops), 0);
    return p;
}

/* Frees a probe whose socket has been given back. */
static inline void probe_free(struct probe *p)
{
    assert_int_equal(p->closes, 1);
    buf_deinit(&p->got);
    mem_free(p);
}

/* Closes the socket, unless it is closing, waits for the end and frees. */
static inline void probe_destroy(struct probe *p)
{
    if (!p->must_rest)
        probe_close(p);
    RUN_UNTIL(p->f, p->closes == 1);
    probe_free(p);
}

/* A pair of connected stream sockets: `*out_near` for the reactor, the other non-blocking. */
static inline void make_pair(int *out_near, int *out_far)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    *out_near = fds[0];
    *out_far = fds[1];
}

static inline struct probe *probe_pair(struct fixture *f, int *out_far)
{
    int near;

    make_pair(&near, out_far);
    return probe_open(f, near);
}

/* Reads what is there, at most `len` bytes; 0 if there is nothing or it has ended. */
static inline size_t read_some(int fd, void *out, size_t len)
{
    const ssize_t n = read(fd, out, len);

    assert_true(n >= 0 || errno == EAGAIN || errno == ECONNRESET);
    return n < 0 ? 0 : (size_t)n;
}

static inline void write_all(int fd, const void *ptr, size_t len)
{
    assert_int_equal(send(fd, ptr, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Byte number i of a stream that every test can check anywhere. */
static inline uint8_t pattern(uint64_t i)
{
    return (uint8_t)((i * 2654435761u) >> 13);
}

struct feeder {
    struct thread thread;
    int fd;
    uint64_t bytes;
};

/* Writes the pattern as fast as the socket takes it. */
static inline void feed(void *arg)
{
    struct feeder *feeder = arg;
    uint8_t chunk[10000];

    for (uint64_t at = 0; at < feeder->bytes;) {
        size_t len = (size_t)u64_min(sizeof(chunk), feeder->bytes - at);
        for (size_t i = 0; i < len; i++)
            chunk[i] = pattern(at + i);
        const ssize_t n = send(feeder->fd, chunk, len, MSG_NOSIGNAL);
        if (n < 0)
            break;
        at += (uint64_t)n;
    }
    close(feeder->fd);
}

static inline int backend_is_missing(void)
{
    const struct reactor_options options = {.backend = fixture_backend};
    struct reactor *r = NULL;

    if (reactor_create(&options, &r) != 0)
        return 1;
    reactor_destroy(r);
    return 0;
}

#define REACTOR_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* Runs a group of tests once for each backend. */
#define RUN_FOR_EACH_BACKEND(tests)                                                   \
    do {                                                                              \
        int run_failed = 0;                                                           \
        fixture_backend = REACTOR_EPOLL;                                              \
        run_failed += cmocka_run_group_tests_name("epoll", tests, NULL, NULL);        \
        fixture_backend = REACTOR_URING;                                              \
        if (backend_is_missing())                                                     \
            print_message("io_uring is not available: not tested\n");                 \
        else                                                                          \
            run_failed += cmocka_run_group_tests_name("io_uring", tests, NULL, NULL); \
        return run_failed;                                                            \
    } while (0)

#endif
