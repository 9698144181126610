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

static struct latency_class *class_of(struct latency *l, const char *name)
{
    struct latency_class *k = find(l, bytes_cstr(name));

    if (k == NULL) {
        CHECK(l->count < LATENCY_CLASSES_MAX);
        k = l->class[l->count++] = mem_zalloc(sizeof(*k));
        k->name = name;
    }
    return k;
}

void latency_add(struct latency *l, const char *name, uint64_t ms)
{
    const uint64_t now_s = clock_wall_ms() / 1000;
    struct latency_class *k = class_of(l, name);

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

/* Sample `i` from the oldest on; unused places come first. */
static const struct latency_sample *sample_at(const struct latency_class *k, uint32_t i)
{
    return &k->sample[(k->next + i) % LATENCY_SAMPLES_MAX];
}

/* Both from the newest to the oldest, into the place of `into` from the end. */
static void merge_class(struct latency_class *into, const struct latency_class *from)
{
    struct latency_class sum = {.name = into->name, .ms_max = u64_max(into->ms_max, from->ms_max)};
    uint32_t a = LATENCY_SAMPLES_MAX, b = LATENCY_SAMPLES_MAX, n = LATENCY_SAMPLES_MAX;

    while (n != 0 && (a != 0 || b != 0)) {
        const struct latency_sample x =
            a == 0 ? (struct latency_sample){0} : *sample_at(into, a - 1);
        const struct latency_sample y =
            b == 0 ? (struct latency_sample){0} : *sample_at(from, b - 1);
        if (x.at_s == 0 && y.at_s == 0)
            break;
        sum.sample[--n] = x.at_s >= y.at_s ? x : y;
        if (x.at_s == y.at_s)
            sum.sample[n].ms = u64_max(x.ms, y.ms);
        a -= x.at_s >= y.at_s;
        b -= y.at_s >= x.at_s;
    }
    *into = sum;
}

void latency_merge(struct latency *l, const struct latency *from)
{
    for (uint32_t i = 0; i < from->count; i++)
        merge_class(class_of(l, from->class[i] -> name), from->class[i]);
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
