/* The latency events of a shard; latency.h tells what is kept. */
#include "server/latency.h"

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

struct latency {
    struct latency_class *class[LATENCY_CLASSES_MAX];
    uint32_t count;
};

struct latency *latency_create(void)
{
    return mem_zalloc(sizeof(struct latency));
}

void latency_destroy(struct latency *l)
{
    if (l == NULL)
        return;
    (void)latency_reset(l, NULL);
    mem_free(l);
}

static struct latency_class *find(const struct latency *l, struct bytes name)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (bytes_eq(bytes_cstr(l->class[i] -> name), name))
            return l->class[i];
    }
    return NULL;
}

void latency_add(struct latency *l, const char *name, uint64_t ms)
{
    const uint64_t now_s = clock_wall_ms() / 1000;
    struct latency_class *k = find(l, bytes_cstr(name));

    if (k == NULL) {
        CHECK(l->count < LATENCY_CLASSES_MAX);
        k = l->class[l->count++] = mem_zalloc(sizeof(*k));
        k->name = name;
    }
    k->ms_max = u64_max(k->ms_max, ms);
    struct latency_sample *last =
        &k->sample[(k->next + LATENCY_SAMPLES_MAX - 1) % LATENCY_SAMPLES_MAX];
    if (last->at_s == now_s) {
        last->ms = u64_max(last->ms, ms);
        return;
    }
    k->sample[k->next] = (struct latency_sample){.at_s = now_s, .ms = ms};
    k->next = (k->next + 1) % LATENCY_SAMPLES_MAX;
}

uint32_t latency_count(const struct latency *l)
{
    return l->count;
}

const struct latency_class *latency_at(const struct latency *l, uint32_t index)
{
    return l->class[index];
}

const struct latency_class *latency_find(const struct latency *l, struct bytes name)
{
    return find(l, name);
}

uint32_t latency_reset(struct latency *l, const struct bytes *name)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < l->count; i++) {
        if (name == NULL || bytes_eq(bytes_cstr(l->class[i] -> name), *name))
            mem_free(l->class[i]);
        else
            l->class[kept++] = l->class[i];
    }
    const uint32_t gone = l->count - kept;
    l->count = kept;
    return gone;
}
