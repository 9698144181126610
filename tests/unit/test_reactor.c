/*
 * The loop, once per backend: listening and connecting, timers, wake-ups, turns.
 */
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/test_reactor_fixture.h"

/* ---- listening and connecting ---- */

struct acceptor {
    struct reactor_listener listener;
    struct fixture *f;
    struct probe *probes[400];
    uint32_t count;
    bool stop_at_first;
};

static void on_accept(struct reactor_listener *l, int fd)
{
    struct acceptor *a = container_of(l, struct acceptor, listener);

    assert_true(a->count < ARRAY_COUNT(a->probes));
    a->probes[a->count] = probe_open(a->f, fd);
    a->probes[a->count]->echo = true;
    a->count++;
    if (a->stop_at_first) {
        reactor_unlisten(l->r, l);
        /* It is the caller's from here on. */
        *l = (struct reactor_listener){.fd = l->fd};
    }
}

static int listen_on(struct sockaddr_in *addr)
{
    socklen_t len = sizeof(*addr);
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static struct acceptor *acceptor_create(struct fixture *f, struct sockaddr_in *out_addr)
{
    struct acceptor *a = mem_zalloc(sizeof(*a));

    *out_addr =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a->f = f;
    assert_int_equal(reactor_listen(f->r, &a->listener, listen_on(out_addr), on_accept), 0);
    return a;
}

static void acceptor_destroy(struct acceptor *a)
{
    const int fd = a->listener.fd;

    reactor_unlisten(a->f->r, &a->listener);
    reactor_unlisten(a->f->r, &a->listener);
    close(fd);
    for (uint32_t i = 0; i < a->count; i++)
        probe_destroy(a->probes[i]);
    run_a_while(a->f);
    mem_free(a);
}

static int connect_to(const struct sockaddr_in *addr)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void many_connections_are_accepted_and_served(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *a = acceptor_create(f, &addr);
    struct sockaddr_storage peer;
    int fds[300];

    for (uint32_t i = 0; i < 300; i++) {
        fds[i] = connect_to(&addr);
        write_all(fds[i], &i, sizeof(i));
    }
    RUN_UNTIL(f, a->count == 300);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 300; i++) {
            uint32_t got = 0;
            size_t n = 0;
            RUN_UNTIL(f, (n = read_some(fds[i], &got, sizeof(got))) != 0);
            expect_u64(n, sizeof(got));
            expect_u64(got, i + round);
            got++;
            write_all(fds[i], &got, sizeof(got));
        }
    }
    assert_int_equal(reactor_sock_addr(&a->probes[0]->sock, true, &peer), 0);
    assert_int_equal(peer.ss_family, AF_INET);
    expect_u64(reactor_metrics(f->r)->accepts, 300);
    expect_u64(reactor_metrics(f->r)->socks, 300);
    for (uint32_t i = 0; i < 300; i++)
        close(fds[i]);
    acceptor_destroy(a);
    expect_u64(reactor_metrics(f->r)->socks, 0);
}

static void nothing_is_accepted_after_unlisten_and_the_port_is_free(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *a = acceptor_create(f, &addr);
    const int client = connect_to(&addr);

    RUN_UNTIL(f, a->count == 1);
    const int listening = a->listener.fd;
    reactor_unlisten(f->r, &a->listener);
    close(listening);
    const int again = listen_on(&addr);
    const int late = connect_to(&addr);
    run_a_while(f);
    expect_u64(a->count, 1);
    probe_destroy(a->probes[0]);
    mem_free(a);
    close(again);
    close(client);
    close(late);
}

/* What it asked for before the first turn must not be done to whoever has its descriptor later. */
static void a_listener_that_ends_before_the_first_turn_takes_no_connection(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *gone = acceptor_create(f, &addr);
    const int listening = gone->listener.fd;
    int clients[20];

    reactor_unlisten(f->r, &gone->listener);
    close(listening);
    struct acceptor *a = acceptor_create(f, &addr);
    assert_int_equal(a->listener.fd, listening);
    for (uint32_t i = 0; i < ARRAY_COUNT(clients); i++)
        clients[i] = connect_to(&addr);
    RUN_UNTIL(f, a->count == ARRAY_COUNT(clients));
    expect_u64(reactor_metrics(f->r)->accepts, ARRAY_COUNT(clients));
    for (uint32_t i = 0; i < ARRAY_COUNT(clients); i++)
        close(clients[i]);
    acceptor_destroy(a);
    mem_free(gone);
}

static void a_listener_may_stop_in_its_callback(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *a = acceptor_create(f, &addr);
    int clients[5];

    a->stop_at_first = true;
    for (uint32_t i = 0; i < 5; i++)
        clients[i] = connect_to(&addr);
    RUN_UNTIL(f, a->count == 1);
    run_a_while(f);
    expect_u64(a->count, 1);
    acceptor_destroy(a);
    for (uint32_t i = 0; i < 5; i++)
        close(clients[i]);
}

static void a_listener_without_descriptors_tries_again_later(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *a = acceptor_create(f, &addr);
    struct rlimit old;

    const int client = connect_to(&addr);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    /* The ring reads the limit when it begins to accept. */
    struct rlimit low = {.rlim_cur = (rlim_t)client, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    RUN_UNTIL(f, reactor_metrics(f->r)->accept_errors > 0);
    expect_u64(a->count, 0);
    const uint32_t turns = f->turns;
    const uint64_t from_ms = reactor_now_ms(f->r);
    while (reactor_now_ms(f->r) < from_ms + 30)
        reactor_run_once(f->r, 10);
    /* It waits; it does not spin. */
    assert_true(f->turns - turns < 20);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    RUN_UNTIL(f, a->count == 1);
    acceptor_destroy(a);
    close(client);
}

static void a_connection_can_be_made_and_used(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *a = acceptor_create(f, &addr);
    struct probe *p = probe_create(f);
    char text[] = "there and back";
    struct iovec iov = {.iov_base = text, .iov_len = 14};

    assert_int_equal(
        reactor_connect(f->r, &p->sock, (struct sockaddr *)&addr, sizeof(addr), &probe_ops), 0);
    assert_int_equal(p->connects, 0);
    RUN_UNTIL(f, p->connects == 1);
    assert_int_equal(p->connect_err, 0);
    if (reactor_sock_send(&p->sock, &iov, 1) == 0)
        RUN_UNTIL(f, p->sents == 1);
    RUN_UNTIL(f, p->got.len == 14);
    probe_destroy(p);
    acceptor_destroy(a);
}

static void a_refused_connection_is_told_and_closed(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *a = acceptor_create(f, &addr);
    struct probe *p = probe_create(f);

    acceptor_destroy(a);
    const int res =
        reactor_connect(f->r, &p->sock, (struct sockaddr *)&addr, sizeof(addr), &probe_ops);
    if (res == 0) {
        RUN_UNTIL(f, p->connects == 1);
        assert_int_equal(p->connect_err, -ECONNREFUSED);
        run_a_while(f);
        probe_destroy(p);
        return;
    }
    assert_int_equal(res, -ECONNREFUSED);
    mem_free(p);
}

static void a_connect_in_flight_can_be_closed(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    struct acceptor *a = acceptor_create(f, &addr);
    struct probe *p = probe_create(f);

    assert_int_equal(
        reactor_connect(f->r, &p->sock, (struct sockaddr *)&addr, sizeof(addr), &probe_ops), 0);
    probe_destroy(p);
    acceptor_destroy(a);
}

/* ---- the loop ---- */

struct ticker {
    struct reactor_timer timer;
    struct reactor *r;
    uint32_t fired;
    uint64_t at_ms;
};

static void on_tick(struct reactor_timer *t)
{
    struct ticker *ticker = container_of(t, struct ticker, timer);

    ticker->fired++;
    assert_true(reactor_now_ms(ticker->r) >= ticker->at_ms);
    ticker->at_ms = reactor_now_ms(ticker->r) + 5;
    reactor_timer_start(ticker->r, t, ticker->at_ms, on_tick);
}

static void timers_wake_the_loop_in_time(void **state)
{
    struct fixture *f = *state;
    struct ticker ticker = {.r = f->r};
    const uint64_t from_ms = reactor_now_ms(f->r);

    ticker.at_ms = from_ms + 5;
    reactor_timer_start(f->r, &ticker.timer, ticker.at_ms, on_tick);
    while (ticker.fired < 4)
        reactor_run_once(f->r, -1);
    assert_true(reactor_now_ms(f->r) >= from_ms + 20);
    assert_true(f->turns < 60);
    reactor_timer_stop(f->r, &ticker.timer);
    assert_true(reactor_wall_ms(f->r) > 1600000000000u);
    assert_true(reactor_now_ns(f->r) / 1000000u == reactor_now_ms(f->r));
}

static void a_flood_does_not_starve_timers(void **state)
{
    struct fixture *f = *state;
    struct feeder feeders[2] = {{.bytes = 16u << 20}, {.bytes = 16u << 20}};
    struct probe *probes[2];
    struct ticker ticker = {.r = f->r};
    uint32_t fired_in_time = 0;

    for (uint32_t i = 0; i < 2; i++) {
        probes[i] = probe_pair(f, &feeders[i].fd);
        assert_int_equal(fcntl(feeders[i].fd, F_SETFL, 0), 0);
        assert_int_equal(thread_start(&feeders[i].thread, "feeder", feed, &feeders[i]), 0);
    }
    ticker.at_ms = reactor_now_ms(f->r) + 1;
    reactor_timer_start(f->r, &ticker.timer, ticker.at_ms, on_tick);
    while (probes[0]->ends + probes[1]->ends < 2) {
        reactor_wake(f->r);
        reactor_run_once(f->r, -1);
        if (probes[0]->ends + probes[1]->ends == 0)
            fired_in_time = ticker.fired;
    }
    assert_true(fired_in_time > 0);
    reactor_timer_stop(f->r, &ticker.timer);
    for (uint32_t i = 0; i < 2; i++) {
        thread_join(&feeders[i].thread);
        expect_u64(probes[i]->got.len, feeders[i].bytes);
        probe_destroy(probes[i]);
    }
}

struct runner {
    struct thread thread;
    struct reactor *r;
    struct probe *p;
    _Atomic uint32_t woken;
    bool stopped;
};

static void on_woken(void *ctx)
{
    struct runner *runner = ctx;

    atomic_fetch_add(&runner->woken, 1);
}

static void run_loop(void *arg)
{
    struct runner *runner = arg;

    reactor_run(runner->r);
    runner->stopped = true;
    /* The ring belongs to this thread: it closes down here as well. */
    probe_destroy(runner->p);
}

static void the_loop_runs_on_another_thread_and_stops_when_told(void **state)
{
    struct fixture *f = *state;
    struct runner runner = {.r = f->r};
    int far;
    char got[4];
    struct probe *p = probe_pair(f, &far);

    /* Set up here, run there. */
    p->echo = true;
    runner.p = p;
    reactor_set_wake_hook(f->r, on_woken, &runner);
    assert_int_equal(thread_start(&runner.thread, "loop", run_loop, &runner), 0);
    for (uint32_t i = 0; i < 200; i++) {
        const uint32_t before = atomic_load(&runner.woken);
        reactor_wake(f->r);
        while (atomic_load(&runner.woken) == before)
            (void)usleep(10);
    }
    assert_int_equal(fcntl(far, F_SETFL, 0), 0);
    for (uint32_t i = 0; i < 20; i++) {
        write_all(far, "ping", 4);
        assert_int_equal(recv(far, got, 4, MSG_WAITALL), 4);
    }
    reactor_stop(f->r);
    thread_join(&runner.thread);
    assert_true(runner.stopped);
    close(far);
}

static void a_stop_before_the_run_is_remembered(void **state)
{
    struct fixture *f = *state;

    reactor_stop(f->r);
    reactor_run(f->r);
}

struct order {
    struct probe *p;
    size_t seen;
};

static void check_order(void *ctx)
{
    struct order *order = ctx;

    order->seen = order->p->got.len;
}

static void the_turn_hook_comes_after_what_the_turn_brought(void **state)
{
    struct fixture *f = *state;
    int far;
    struct order order = {.p = probe_pair(f, &far)};

    reactor_set_turn_hook(f->r, check_order, &order);
    reactor_run_once(f->r, 0);
    write_all(far, "abc", 3);
    while (order.p->got.len == 0)
        reactor_run_once(f->r, 10);
    expect_u64(order.seen, 3);
    probe_destroy(order.p);
    close(far);
}

static void an_idle_loop_sleeps(void **state)
{
    struct fixture *f = *state;
    int far;
    struct probe *p = probe_pair(f, &far);

    run_a_while(f);
    const uint32_t turns = f->turns;
    const uint64_t from_ms = reactor_now_ms(f->r);
    reactor_run_once(f->r, 30);
    assert_true(reactor_now_ms(f->r) >= from_ms + 25);
    expect_u64(f->turns, turns + 1);
    probe_destroy(p);
    close(far);
}

static void more_operations_than_the_queue_holds_only_take_longer(void **state)
{
    struct fixture *f = *state;
    const uint32_t count = 2500;
    struct rlimit old;
    struct probe **probes = mem_zalloc_array(count, sizeof(struct probe *));
    int *fars = mem_zalloc_array(count, sizeof(*fars));

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit high = {.rlim_cur = u64_min(old.rlim_max, 8192), .rlim_max = old.rlim_max};
    if (high.rlim_cur < 2 * count + 100)
        skip();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &high), 0);
    for (uint32_t i = 0; i < count; i++) {
        probes[i] = probe_pair(f, &fars[i]);
        probes[i]->echo = true;
    }
    for (uint32_t i = 0; i < count; i++)
        write_all(fars[i], "all at once", 11);
    for (uint32_t i = 0; i < count; i++)
        RUN_UNTIL(f, probes[i]->got.len == 11);
    for (uint32_t i = 0; i < count; i++)
        probe_close(probes[i]);
    for (uint32_t i = 0; i < count; i++) {
        probe_destroy(probes[i]);
        close(fars[i]);
    }
    mem_free(probes);
    mem_free(fars);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* ---- falling back ---- */

/* Refuses io_uring to this process, as container runtimes do. 0 if that worked. */
static int forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = ARRAY_COUNT(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

/* In a child: 0 as it should be, 1 not, 2 if it cannot be tried. */
static int create_without_io_uring(void)
{
    struct reactor_options options = {.backend = REACTOR_URING};
    struct reactor *r = NULL;

    if (forbid_io_uring() != 0)
        return 2;
    if (reactor_create(&options, &r) != -EPERM)
        return 1;
    options.backend = REACTOR_AUTO;
    if (reactor_create(&options, &r) != 0)
        return 1;
    const int res = strcmp(reactor_backend_name(r), "epoll") == 0 ? 0 : 1;
    reactor_run_once(r, 0);
    reactor_destroy(r);
    return res;
}

static void where_io_uring_is_forbidden_epoll_is_used(void **state UNUSED)
{
    int status = 0;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        _exit(create_without_io_uring());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REACTOR_TEST(many_connections_are_accepted_and_served),
        REACTOR_TEST(nothing_is_accepted_after_unlisten_and_the_port_is_free),
        REACTOR_TEST(a_listener_that_ends_before_the_first_turn_takes_no_connection),
        REACTOR_TEST(a_listener_may_stop_in_its_callback),
        REACTOR_TEST(a_listener_without_descriptors_tries_again_later),
        REACTOR_TEST(a_connection_can_be_made_and_used),
        REACTOR_TEST(a_refused_connection_is_told_and_closed),
        REACTOR_TEST(a_connect_in_flight_can_be_closed),
        REACTOR_TEST(timers_wake_the_loop_in_time),
        REACTOR_TEST(a_flood_does_not_starve_timers),
        REACTOR_TEST(the_loop_runs_on_another_thread_and_stops_when_told),
        REACTOR_TEST(a_stop_before_the_run_is_remembered),
        REACTOR_TEST(the_turn_hook_comes_after_what_the_turn_brought),
        REACTOR_TEST(an_idle_loop_sleeps),
        REACTOR_TEST(more_operations_than_the_queue_holds_only_take_longer),
        cmocka_unit_test(where_io_uring_is_forbidden_epoll_is_used),
    };

    RUN_FOR_EACH_BACKEND(tests);
}
