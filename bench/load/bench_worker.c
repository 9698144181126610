/*
 * The event loop of a worker; the header explains the method.
 *
 * The lock is held while events are handled and free while the thread waits, so that the main
 * thread can read and reset the figures at any time; nobody else takes it more than a few times a
 * second.
 */
#include "bench/load/bench_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "bench/load/bench_checker.h"
#include "bench/load/bench_load.h"

#define RECEIVE_BYTES     (64u << 10)
#define SEND_BYTES        (64u << 10) /* A batch goes out when it gets longer. */
#define EVENTS_MAX        256
#define READS_PER_EVENT   16
#define WAIT_NS_MAX       100000000u  /* How soon a stop or a silent server is noticed. */
#define STOP_DRAIN_NS_MAX 1000000000u /* What replies may still take after a stop. */
#define OUT_BYTES_MAX     ((size_t)1 << 30)
#define NS_PER_S          1000000000u

struct pending {
    uint64_t intended_ns;
    uint64_t sent_ns;
    enum bench_op op;
};

struct conn {
    int fd;
    uint32_t head; /* Oldest of the ring. */
    uint32_t in_flight;
    bool reading;         /* In the middle of a reply. */
    bool blocked;         /* `rest` waits for EPOLLOUT. */
    struct pending *ring; /* config.pipeline entries. */
    uint64_t *owners;     /* With verify: `multi` for each of the ring. */
    struct buf rest;      /* What a send left over. */
    struct bench_reply reply;
    struct bench_checker checker;
};

struct bench_worker {
    struct bench_worker_config config;
    const struct bench_options *options;
    pthread_t thread;
    pthread_mutex_t lock;
    int epoll_fd;
    struct conn *conns;
    struct bench_gen gen;
    struct bench_load load;
    struct bench_arrival arrival;
    struct bench_stats stats;
    struct bench_interval interval;
    uint8_t *out; /* SEND_BYTES and one request. */
    size_t out_len;
    uint8_t *in;
    uint64_t now_ns;
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t quota;
    uint64_t in_flight;
    uint64_t alive_ns; /* Last reply, or the first request after a pause. */
    uint64_t stopped_ns;
    uint64_t tick_at_ns; /* Open loop with a tick: the next wake-up. */
    uint64_t last_reply_ns;
    uint64_t cpu_start_ns;
    uint64_t cpu_ns;
    uint64_t unsent;
    uint32_t next_conn; /* Open loop: where the search for room begins. */
    bool open_loop;
    bool issuing;
    bool failed;
    bool no_pwait2;
    _Atomic bool finished;
    struct bench_error failure;
};

static void fail(struct bench_worker *worker, const char *what, const char *why)
{
    if (!worker->failed)
        snprintf(worker->failure.text, sizeof(worker->failure.text), "%s: %s", what, why);
    worker->failed = true;
    worker->issuing = false;
}

/* The CPU time that a thread has used; 0 if it cannot be read. */
static uint64_t thread_cpu_ns(pthread_t thread)
{
    struct timespec at;
    clockid_t id;

    if (pthread_getcpuclockid(thread, &id) != 0 ||
        clock_gettime(id, &at) != 0) /* tidy: allow clock_gettime, this is no point in time */
        return 0;
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

/* --- Setup --- */

static int open_conn(struct bench_worker *worker, struct conn *conn, struct bench_error *error)
{
    const uint32_t pipeline = worker->config.pipeline;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

    conn->fd = bench_connect(worker->options, error);
    if (conn->fd < 0)
        return conn->fd;
    conn->ring = mem_zalloc_array(pipeline, sizeof(*conn->ring));
    if (worker->options->verify)
        conn->owners =
            mem_zalloc_array((size_t)pipeline * worker->options->multi, sizeof(*conn->owners));
    bench_reply_init(&conn->reply, worker->options->verify ? bench_checker_on_piece : NULL,
                     &conn->checker);
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) != 0) {
        snprintf(error->text, sizeof(error->text), "connection: %s", err_str(-errno));
        return -errno;
    }
    return 0;
}

struct bench_worker *bench_worker_create(const struct bench_worker_config *config,
                                         struct bench_error *error)
{
    struct bench_worker *worker = mem_zalloc(sizeof(*worker));
    const struct bench_options *options = config->plan->options;

    worker->config = *config;
    worker->options = options;
    worker->quota = config->quota;
    worker->open_loop = options->rate > 0.0 && !config->load;
    CHECK(pthread_mutex_init(&worker->lock, NULL) == 0);
    bench_gen_init(&worker->gen, config->plan, config->index, &config->shared->latest);
    bench_load_init(&worker->load, config->plan, config->index);
    bench_stats_init(&worker->stats, &options->mix, worker->open_loop);
    worker->out = mem_alloc(SEND_BYTES + config->plan->request_bytes_max);
    worker->in = mem_alloc(RECEIVE_BYTES);
    worker->conns = mem_zalloc_array(config->clients, sizeof(*worker->conns));
    for (uint32_t i = 0; i < config->clients; i++) {
        worker->conns[i].fd = -1;
        buf_init(&worker->conns[i].rest, OUT_BYTES_MAX);
        bench_checker_init(&worker->conns[i].checker);
    }
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(worker->epoll_fd >= 0);
    for (uint32_t i = 0; i < config->clients; i++) {
        if (open_conn(worker, &worker->conns[i], error) != 0) {
            bench_worker_destroy(worker);
            return NULL;
        }
    }
    return worker;
}

void bench_worker_destroy(struct bench_worker *worker)
{
    if (worker == NULL)
        return;
    for (uint32_t i = 0; i < worker->config.clients; i++) {
        struct conn *conn = &worker->conns[i];
        if (conn->fd >= 0)
            close(conn->fd);
        mem_free(conn->ring);
        mem_free(conn->owners);
        buf_deinit(&conn->rest);
        bench_checker_deinit(&conn->checker);
    }
    close(worker->epoll_fd);
    mem_free(worker->conns);
    mem_free(worker->in);
    mem_free(worker->out);
    bench_stats_deinit(&worker->stats);
    pthread_mutex_destroy(&worker->lock);
    mem_free(worker);
}

/* --- Sending --- */

static void want_write(struct bench_worker *worker, struct conn *conn, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = conn};

    conn->blocked = wanted;
    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event) != 0)
        fail(worker, "epoll", err_str(-errno));
}

/* Sends what it can of `data`; the bytes taken, or 0 with the worker failed. */
static size_t send_some(struct bench_worker *worker, const struct conn *conn, struct bytes data)
{
    ssize_t sent;

    do
        sent = send(conn->fd, data.ptr, data.len, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        if (errno != EAGAIN)
            fail(worker, "connection lost while sending", err_str(-errno));
        return 0;
    }
    worker->stats.bytes_sent += (uint64_t)sent;
    return (size_t)sent;
}

/* Sends the requests in worker->out; what the socket refuses waits in conn->rest. */
static void flush_out(struct bench_worker *worker, struct conn *conn)
{
    if (worker->out_len == 0)
        return;
    const struct bytes data = bytes_of(worker->out, worker->out_len);
    const struct bytes rest = bytes_from(data, send_some(worker, conn, data));

    worker->out_len = 0;
    if (rest.len == 0 || worker->failed)
        return;
    if (buf_append_bytes(&conn->rest, rest) != 0)
        fail(worker, "unsent requests", err_str(-ENOMEM));
    else
        want_write(worker, conn, true);
}

static void on_writable(struct bench_worker *worker, struct conn *conn)
{
    buf_consume(&conn->rest, send_some(worker, conn, buf_bytes(&conn->rest)));
    if (conn->rest.len == 0 && !worker->failed)
        want_write(worker, conn, false);
}

static uint64_t *ring_owners(const struct bench_worker *worker, const struct conn *conn,
                             uint32_t slot)
{
    return conn->owners == NULL ? NULL : conn->owners + (size_t)slot * worker->options->multi;
}

/* Adds the next request to worker->out; false if there is none. */
static bool add_request(struct bench_worker *worker, struct conn *conn, uint64_t intended_ns)
{
    const uint32_t slot = (conn->head + conn->in_flight) % worker->config.pipeline;
    uint8_t *at = worker->out + worker->out_len;
    enum bench_op op = BENCH_OP_PRELOAD;
    size_t len;

    if (worker->config.load) {
        len = bench_load_next(&worker->load, &worker->gen, at);
    } else {
        op = bench_gen_op(&worker->gen);
        len = bench_gen_build(&worker->gen, op, at, ring_owners(worker, conn, slot));
    }
    if (len == 0) {
        worker->issuing = false;
        return false;
    }
    conn->ring[slot] = (struct pending){intended_ns, worker->now_ns, op};
    conn->in_flight++;
    if (worker->in_flight++ == 0)
        worker->alive_ns = worker->now_ns;
    worker->out_len += len;
    if (--worker->quota == 0)
        worker->issuing = false;
    return true;
}

/* Closed loop: as many requests as the pipeline has room for. */
static void fill(struct bench_worker *worker, struct conn *conn)
{
    while (worker->issuing && !conn->blocked && conn->in_flight < worker->config.pipeline) {
        if (!add_request(worker, conn, worker->now_ns))
            break;
        if (worker->out_len >= SEND_BYTES)
            flush_out(worker, conn);
    }
    flush_out(worker, conn);
}

/* Open loop: the next connection in turn that has room; NULL if all are busy. */
static struct conn *find_room(struct bench_worker *worker)
{
    for (uint32_t i = 0; i < worker->config.clients; i++) {
        struct conn *conn = &worker->conns[worker->next_conn];
        worker->next_conn = (worker->next_conn + 1) % worker->config.clients;
        if (!conn->blocked && conn->in_flight < worker->config.pipeline)
            return conn;
    }
    return NULL;
}

/* Open loop: sends what is due. */
static void dispatch(struct bench_worker *worker)
{
    const uint64_t room_max = (uint64_t)worker->config.clients * worker->config.pipeline;

    while (worker->issuing && worker->in_flight < room_max) {
        const uint64_t intended_ns = bench_arrival_at_ns(&worker->arrival);
        if (intended_ns > worker->now_ns)
            break;
        struct conn *conn = find_room(worker);
        if (conn == NULL)
            break;
        bench_arrival_advance(&worker->arrival, &worker->gen.rng);
        if (add_request(worker, conn, intended_ns))
            flush_out(worker, conn);
    }
}

/* --- Receiving --- */

static uint64_t count_misses(enum bench_miss miss, const struct bench_reply_info *info)
{
    switch (miss) {
    case BENCH_MISS_NEVER:
        return 0;
    case BENCH_MISS_NIL:
        return info->nil;
    case BENCH_MISS_ZERO:
        return info->type == ':' && info->number == 0;
    case BENCH_MISS_EMPTY:
        return info->nil || (info->type == '*' && info->number == 0);
    case BENCH_MISS_NILS:
        return info->nils;
    }
    UNREACHABLE();
}

static void begin_reply(struct bench_worker *worker, struct conn *conn)
{
    const struct pending *pending = &conn->ring[conn->head];
    const struct bench_op_info *info = bench_op_info(pending->op);
    const uint64_t owner_count = info->args[0] == 'K' ? worker->options->multi : 1;

    conn->reading = true;
    if (conn->owners != NULL)
        bench_checker_begin(&conn->checker, info->verify, ring_owners(worker, conn, conn->head),
                            owner_count);
}

static void end_reply(struct bench_worker *worker, struct conn *conn)
{
    const struct pending *pending = &conn->ring[conn->head];
    const struct bench_reply_info *info = &conn->reply.info;
    struct bench_op_stats *op = &worker->stats.ops[pending->op];

    if (unlikely(info->type == '-')) {
        bench_stats_error(&worker->stats, pending->op, info->text, info->text_len);
        worker->interval.errors++;
    } else {
        const struct bench_timing timing = {pending->intended_ns, pending->sent_ns, worker->now_ns};
        bench_stats_record(&worker->stats, pending->op, &timing);
        if (worker->options->interval_s > 0.0 || worker->config.load)
            hist_record(&worker->interval.latency, worker->now_ns - pending->intended_ns);
        op->misses += count_misses(bench_op_info(pending->op)->miss, info);
    }
    if (conn->owners != NULL) {
        worker->stats.checked += conn->checker.checked;
        op->wrong += conn->checker.wrong;
    }
    conn->reading = false;
    conn->head = (conn->head + 1) % worker->config.pipeline;
    conn->in_flight--;
    worker->in_flight--;
}

static void on_data(struct bench_worker *worker, struct conn *conn, struct bytes data)
{
    size_t used;

    worker->stats.bytes_received += data.len;
    worker->last_reply_ns = worker->now_ns;
    worker->alive_ns = worker->now_ns;
    while (data.len > 0) {
        if (!conn->reading) {
            if (conn->in_flight == 0) {
                fail(worker, "server", "sent a reply to no request");
                return;
            }
            begin_reply(worker, conn);
        }
        const int result = bench_reply_feed(&conn->reply, data.ptr, data.len, &used);
        if (result < 0) {
            fail(worker, "reply", err_str(result));
            return;
        }
        data = bytes_from(data, used);
        if (result == BENCH_REPLY_DONE)
            end_reply(worker, conn);
    }
}

static void on_readable(struct bench_worker *worker, struct conn *conn)
{
    /* A bound, so that one connection with a huge reply does not starve the others. */
    for (int i = 0; i < READS_PER_EVENT && !worker->failed; i++) {
        const ssize_t len = recv(conn->fd, worker->in, RECEIVE_BYTES, 0);
        if (len < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (len <= 0) {
            fail(worker, "connection lost", len == 0 ? "closed by the server" : err_str(-errno));
            return;
        }
        worker->now_ns = clock_mono_ns();
        on_data(worker, conn, bytes_of(worker->in, (size_t)len));
        if ((size_t)len < RECEIVE_BYTES)
            break;
    }
    if (!worker->open_loop && worker->issuing && conn->in_flight <= worker->config.pipeline / 2)
        fill(worker, conn);
}

/* --- The loop --- */

/* Open loop with a tick: sleeps until it, whatever arrives. */
static void wait_tick(struct bench_worker *worker)
{
    const uint64_t tick_ns = worker->options->tick_us * UINT64_C(1000);
    const uint64_t now_ns = clock_mono_ns();

    if (tick_ns == 0)
        return;
    if (worker->tick_at_ns > now_ns) {
        const struct timespec left = {.tv_nsec = (long)(worker->tick_at_ns - now_ns)};
        (void)nanosleep(&left, NULL);
    }
    worker->tick_at_ns = u64_max(worker->tick_at_ns, now_ns) + tick_ns;
}

static int wait_events(struct bench_worker *worker, struct epoll_event *events)
{
    uint64_t wait_ns = WAIT_NS_MAX;

    if (worker->open_loop && worker->issuing) {
        wait_tick(worker);
        const uint64_t room_max = (uint64_t)worker->config.clients * worker->config.pipeline;
        const uint64_t due_ns = bench_arrival_at_ns(&worker->arrival);
        const uint64_t now_ns = clock_mono_ns();
        /* With no room, only a reply helps. */
        if (worker->in_flight < room_max)
            wait_ns = u64_min(wait_ns, due_ns > now_ns ? due_ns - now_ns : 0);
    }
    if (!worker->no_pwait2) {
        const struct timespec timeout = {.tv_nsec = (long)wait_ns};
        const int count = epoll_pwait2(worker->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
        if (count >= 0 || errno != ENOSYS)
            return count;
        worker->no_pwait2 = true;
    }
    /* Older kernels wait in milliseconds: spin through the last one rather than be late. */
    return epoll_wait(worker->epoll_fd, events, EVENTS_MAX, (int)(wait_ns / 1000000));
}

/* Whether it is time to stop sending, or to give up. */
static void check_time(struct bench_worker *worker)
{
    const uint64_t timeout_ns = (uint64_t)(worker->options->timeout_s * NS_PER_S);
    const bool stop = atomic_load_explicit(&worker->config.shared->stop, memory_order_relaxed);

    if (worker->now_ns >= worker->end_ns || stop)
        worker->issuing = false;
    if (worker->in_flight > 0 && worker->now_ns > worker->alive_ns + timeout_ns)
        fail(worker, "server", "no reply within --timeout");
    if (!stop)
        return;
    if (worker->stopped_ns == 0)
        worker->stopped_ns = worker->now_ns;
    if (worker->in_flight > 0 && worker->now_ns > worker->stopped_ns + STOP_DRAIN_NS_MAX)
        fail(worker, "stopped", "replies were still missing");
}

static void handle_events(struct bench_worker *worker, const struct epoll_event *events, int count)
{
    worker->now_ns = clock_mono_ns();
    for (int i = 0; i < count && !worker->failed; i++) {
        struct conn *conn = events[i].data.ptr;
        if ((events[i].events & EPOLLOUT) != 0)
            on_writable(worker, conn);
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0 && !worker->failed)
            on_readable(worker, conn);
        if ((events[i].events & EPOLLOUT) != 0 && !worker->open_loop && !worker->failed)
            fill(worker, conn);
    }
    if (worker->open_loop)
        dispatch(worker);
    check_time(worker);
}

static void start_sending(struct bench_worker *worker)
{
    const struct bench_arrival_share share = {
        .rate = worker->options->rate,
        .index = worker->config.index,
        .count = worker->options->threads,
    };

    worker->now_ns = clock_mono_ns();
    worker->cpu_start_ns = thread_cpu_ns(pthread_self());
    worker->issuing = worker->quota > 0;
    if (worker->open_loop) {
        bench_arrival_init(&worker->arrival, worker->options->arrival, &share, worker->start_ns,
                           &worker->gen.rng);
        return;
    }
    for (uint32_t i = 0; i < worker->config.clients && !worker->failed; i++)
        fill(worker, &worker->conns[i]);
}

static void *run(void *arg)
{
    struct bench_worker *worker = arg;
    struct epoll_event events[EVENTS_MAX];

    /* Else the kernel may be 50 microseconds late with every wait of the open loop. */
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    pthread_mutex_lock(&worker->lock);
    start_sending(worker);
    while ((worker->issuing || worker->in_flight > 0) && !worker->failed) {
        pthread_mutex_unlock(&worker->lock);
        const int count = wait_events(worker, events);
        pthread_mutex_lock(&worker->lock);
        if (count < 0 && errno != EINTR)
            fail(worker, "epoll", err_str(-errno));
        handle_events(worker, events, count);
    }
    if (worker->open_loop && worker->quota > 0)
        worker->unsent = bench_arrival_skip_until(
            &worker->arrival, u64_min(worker->now_ns, worker->end_ns), &worker->gen.rng);
    worker->cpu_ns = thread_cpu_ns(pthread_self()) - worker->cpu_start_ns;
    pthread_mutex_unlock(&worker->lock);
    atomic_store(&worker->finished, true);
    return NULL;
}

int bench_worker_start(struct bench_worker *worker, uint64_t start_ns, uint64_t end_ns)
{
    worker->start_ns = start_ns;
    worker->end_ns = end_ns;
    return -pthread_create(&worker->thread, NULL, run, worker);
}

void bench_worker_join(struct bench_worker *worker)
{
    CHECK(pthread_join(worker->thread, NULL) == 0);
}

/* --- For the main thread --- */

void bench_worker_take_interval(struct bench_worker *worker, struct bench_interval *into)
{
    pthread_mutex_lock(&worker->lock);
    hist_merge(&into->latency, &worker->interval.latency);
    into->errors += worker->interval.errors;
    hist_reset(&worker->interval.latency);
    worker->interval.errors = 0;
    pthread_mutex_unlock(&worker->lock);
}

void bench_worker_reset(struct bench_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bench_stats_reset(&worker->stats);
    hist_reset(&worker->interval.latency);
    worker->interval.errors = 0;
    worker->cpu_start_ns = thread_cpu_ns(worker->thread);
    pthread_mutex_unlock(&worker->lock);
}

bool bench_worker_finished(struct bench_worker *worker)
{
    return atomic_load(&worker->finished);
}

void bench_worker_result(const struct bench_worker *worker, struct bench_worker_result *out)
{
    *out = (struct bench_worker_result){
        .stats = &worker->stats,
        .last_reply_ns = worker->last_reply_ns,
        .cpu_ns = worker->cpu_ns,
        .unsent = worker->unsent,
        .unanswered = worker->in_flight,
        .failure = worker->failed ? worker->failure.text : NULL,
    };
}
