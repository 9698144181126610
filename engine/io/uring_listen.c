/* The listeners of the reactor on io_uring: one multishot accept each. */
#include <unistd.h>

#include "engine/base/mem.h"

#include "engine/io/uring.h"

/* Outlives the caller's struct until the kernel has let go of it. */
struct uring_listener {
    struct reactor_listener *l; /* NULL: unlistened. */
    struct list_link link;      /* Among all of the reactor. */
    struct list_link look;      /* To be looked at in the next turn. */
    int fd;
    bool armed;
};

static void listener_look(struct uring_reactor *u, struct uring_listener *ul)
{
    if (!list_linked(&ul->look))
        list_push_back(&u->listener_looks, &ul->look);
}

static void arm_accept(struct uring_reactor *u, struct uring_listener *ul)
{
    struct io_uring_sqe *sqe = uring_get_sqe(u);

    if (sqe == NULL) {
        listener_look(u, ul);
        return;
    }
    io_uring_prep_multishot_accept(sqe, ul->fd, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = uring_user_data(ul, KIND_ACCEPT);
    ul->armed = true;
}

static void on_backoff_over(struct reactor_timer *t)
{
    struct reactor_listener *l = container_of(t, struct reactor_listener, backoff);

    arm_accept(uring_of(l->r), l->impl);
}

void uring_on_accept(struct uring_reactor *u, struct uring_listener *ul, int res, uint32_t flags)
{
    struct reactor_listener *l = ul->l;

    if ((flags & IORING_CQE_F_MORE) == 0)
        ul->armed = false;
    if (l == NULL && res >= 0) {
        (void)close(res); /* Accepted before the listener went away. */
    } else if (res >= 0) {
        u->base.metrics.accepts++;
        l->on_accept(l, res);
    } else if (l != NULL && reactor_accept_must_wait(res)) {
        u->base.metrics.accept_errors++;
        reactor_timer_start(&u->base, &l->backoff, u->base.now_ms + REACTOR_ACCEPT_BACKOFF_MS,
                            on_backoff_over);
        return;
    }
    if (!ul->armed)
        listener_look(u, ul);
}

void uring_listener_looks(struct uring_reactor *u)
{
    struct list looks;

    list_init(&looks);
    list_splice_back(&looks, &u->listener_looks);
    for (;;) {
        struct list_link *link = list_pop_front(&looks);
        if (link == NULL)
            return;
        struct uring_listener *ul = LIST_ITEM(link, struct uring_listener, look);
        if (ul->armed)
            continue;
        if (ul->l != NULL) {
            arm_accept(u, ul);
            continue;
        }
        list_remove(&ul->link);
        mem_free(ul);
    }
}

int uring_listen(struct reactor *r, struct reactor_listener *l)
{
    struct uring_reactor *u = uring_of(r);
    const int err = reactor_set_nonblock(l->fd, false);

    if (err != 0)
        return err;
    reactor_set_nodelay(l->fd);
    struct uring_listener *ul = mem_zalloc(sizeof(*ul));
    ul->l = l;
    ul->fd = l->fd;
    l->impl = ul;
    list_push_back(&u->listeners, &ul->link);
    /*
     * Not before the ring is enabled: what is queued then cannot be taken back, and would accept
     * for whoever has the descriptor by the time of the first turn.
     */
    if (u->enabled)
        arm_accept(u, ul);
    else
        listener_look(u, ul);
    return 0;
}

void uring_unlisten(struct reactor *r, struct reactor_listener *l)
{
    struct uring_reactor *u = uring_of(r);
    struct uring_listener *ul = l->impl;
    struct io_uring_sync_cancel_reg cancel = {.addr = uring_user_data(ul, KIND_ACCEPT),
                                              .fd = -1,
                                              .timeout = {.tv_sec = -1, .tv_nsec = -1}};

    ul->l = NULL;
    l->impl = NULL;
    if (ul->armed && u->enabled) {
        /*
         * At once, so that the port is free when the caller has closed its descriptor. If it
         * fails, the next connection finds out that nobody listens.
         */
        (void)io_uring_submit(&u->ring);
        (void)io_uring_register_sync_cancel(&u->ring, &cancel);
        (void)io_uring_get_events(&u->ring);
    }
    listener_look(u, ul);
}

void uring_listeners_free(struct uring_reactor *u)
{
    for (;;) {
        struct list_link *link = list_pop_front(&u->listeners);
        if (link == NULL)
            return;
        mem_free(LIST_ITEM(link, struct uring_listener, link));
    }
}
