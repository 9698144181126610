/*
 * Growing and shrinking of the trie; keytab_trie.h explains it.
 *
 * A call of leaf_free may move any leaf that is in a trie. Therefore a leaf is linked before
 * another one is freed, and pointers to leaves are looked up again afterwards.
 */
#include "engine/space/keytab_trie.h"

#include "engine/base/mem.h"

/* Free entries that a leaf keeps when it moves to a smaller class: the next inserts need no move.
 */
#define SHRINK_SLACK 4u
/* Buddies merge when one has at most so many entries and both together fill no more than that. */
#define MERGE_ONE_MAX  32u
#define MERGE_BOTH_MAX 80u
/* A big leaf becomes an ordinary one again below this. */
#define BIG_ENTRIES_MIN 96u

static uint32_t prefix_of(uint64_t hash, unsigned depth)
{
    return depth == 0 ? 0 : (uint32_t)(hash >> 32) >> (32 - depth) << (32 - depth);
}

static uint64_t leaf_hash(const struct trie_leaf *leaf)
{
    return (uint64_t)leaf->prefix << 32;
}

static unsigned class_for(const struct trie *trie, uint32_t count)
{
    for (unsigned cls = 1; cls < LEAF_CLASSES; cls++) {
        if (trie->ops->caps[cls] >= count)
            return cls;
    }
    return LEAF_CLASSES;
}

static struct leaf_view view_of(const struct trie *trie, struct trie_leaf *leaf, unsigned cls)
{
    return leaf_view(leaf, cls, trie->ops->caps);
}

/* --- leaves --- */

static struct trie_leaf *leaf_create(const struct trie *trie, unsigned cls, uint64_t hash,
                                     unsigned depth)
{
    struct trie_leaf *leaf = trie->ops->leaf_new(trie->ctx, cls);

    *leaf = (struct trie_leaf){
        .prefix = prefix_of(hash, depth), .owner = trie->owner, .depth = (uint8_t)depth};
    return leaf;
}

static void leaf_append(const struct trie *trie, struct trie_leaf *leaf, unsigned cls, uint8_t fp,
                        uint64_t payload)
{
    CHECK(leaf->count < trie->ops->caps[cls]);
    leaf_data(leaf)[leaf->count] = fp;
    leaf_store(leaf_data(leaf) + trie->ops->caps[cls], leaf->count, payload);
    leaf->count++;
}

/* Moves the entries into a leaf of another class that has room for them. */
static struct trie_leaf *leaf_move(const struct trie *trie, struct trie_leaf *leaf, unsigned cls,
                                   unsigned to_cls)
{
    const struct leaf_view from = view_of(trie, leaf, cls);
    struct trie_leaf *to = leaf_create(trie, to_cls, leaf_hash(leaf), leaf->depth);
    const struct leaf_view v = view_of(trie, to, to_cls);

    CHECK(from.count <= v.cap);
    memcpy(v.fp, from.fp, from.count);
    memcpy(v.payload, from.payload, (size_t)from.count * LEAF_PAYLOAD_BYTES);
    to->count = (uint8_t)from.count;
    trie_link(trie->root, to, trie_ref(to, to_cls, 0));
    return to;
}

/* The same, and gives the old leaf back. */
static struct trie_leaf *leaf_resize(const struct trie *trie, struct trie_leaf *leaf, unsigned cls,
                                     unsigned to_cls)
{
    struct trie_leaf *to = leaf_move(trie, leaf, cls, to_cls);

    trie->ops->leaf_free(trie->ctx, leaf, cls);
    return to;
}

/* --- big leaves --- */

static size_t big_size(uint32_t cap)
{
    return sizeof(struct leaf_big) + (size_t)cap * (1 + LEAF_PAYLOAD_BYTES);
}

static struct leaf_big *big_create(const struct trie *trie, const struct trie_leaf *like,
                                   const struct leaf_view *from)
{
    /* By half, then up to what the allocator gives anyway. */
    const size_t size = mem_class_bytes(big_size(from->count + from->count / 2));
    const uint32_t cap = (uint32_t)((size - sizeof(struct leaf_big)) / (1 + LEAF_PAYLOAD_BYTES));
    struct leaf_big *big = mem_alloc(size);

    big->head =
        (struct trie_leaf){.prefix = like->prefix, .owner = like->owner, .depth = like->depth};
    big->count = from->count;
    big->cap = cap;
    memcpy(big->data, from->fp, from->count);
    memcpy(big->data + cap, from->payload, (size_t)from->count * LEAF_PAYLOAD_BYTES);
    trie->ops->account(trie->ctx, (ptrdiff_t)size);
    trie_link(trie->root, &big->head, trie_ref(big, LEAF_CLASS_BIG, 0));
    return big;
}

static void big_free(const struct trie *trie, struct leaf_big *big)
{
    const size_t size = mem_class_bytes(big_size(big->cap));

    trie->ops->account(trie->ctx, -(ptrdiff_t)size);
    mem_free_sized(big, size);
}

static void leaf_give_back(const struct trie *trie, struct trie_leaf *leaf, unsigned cls)
{
    if (cls == LEAF_CLASS_BIG)
        big_free(trie, container_of(leaf, struct leaf_big, head));
    else
        trie->ops->leaf_free(trie->ctx, leaf, cls);
}

static void big_append(const struct trie *trie, struct trie_leaf *leaf, uint8_t fp,
                       uint64_t payload)
{
    struct leaf_big *big = container_of(leaf, struct leaf_big, head);

    if (big->count == big->cap) {
        const struct leaf_view v = view_of(trie, leaf, LEAF_CLASS_BIG);
        struct leaf_big *larger = big_create(trie, leaf, &v);
        big_free(trie, big);
        big = larger;
    }
    big->data[big->count] = fp;
    leaf_store(big->data + big->cap, big->count, payload);
    big->count++;
}

/* --- directory nodes --- */

static size_t node_size(unsigned bits)
{
    return sizeof(uint64_t) << bits;
}

static uint64_t *node_create(const struct trie *trie, unsigned bits)
{
    /* Two references take 16 bytes: every node is 16-byte aligned. */
    trie->ops->account(trie->ctx, (ptrdiff_t)mem_class_bytes(node_size(bits)));
    return mem_alloc(node_size(bits));
}

static void node_free(const struct trie *trie, uint64_t *refs, unsigned bits)
{
    trie->ops->account(trie->ctx, -(ptrdiff_t)mem_class_bytes(node_size(bits)));
    mem_free_sized(refs, node_size(bits));
}

/* Makes room for one more bit below the leaf at `at`, which has all the bits of its node. */
static void node_deepen(const struct trie *trie, const struct trie_at *at)
{
    const unsigned bits = at->node == NULL ? TRIE_NODE_BITS_MAX : trie_node_bits(*at->node);

    if (bits == TRIE_NODE_BITS_MAX) {
        uint64_t *refs = node_create(trie, 1);
        refs[0] = refs[1] = *at->entry;
        *at->entry = trie_ref(refs, 0, 1);
        return;
    }
    uint64_t *old = trie_ptr(*at->node);
    uint64_t *refs = node_create(trie, bits + 1);
    for (size_t i = 0; i < (size_t)1 << bits; i++)
        refs[2 * i] = refs[2 * i + 1] = old[i];
    *at->node = trie_ref(refs, 0, bits + 1);
    node_free(trie, old, bits);
}

/* The references of the node at `refs` (depth bits above it) for the leaf's part, or part of it. */
static uint64_t *node_range(uint64_t *refs, unsigned bits, unsigned above, uint64_t hash,
                            unsigned depth, size_t *out_count)
{
    const unsigned own = depth - above; /* Bits of the node that the part fixes. */
    const size_t index = own == 0 ? 0 : (size_t)(hash << above >> (64 - own));

    *out_count = (size_t)1 << (bits - own);
    return refs + (index << (bits - own));
}

/* Points the part of `depth` bits at `ref`. Nodes go so deep, and nothing deeper is in that part.
 */
static void link_part(uint64_t *root, uint64_t hash, unsigned depth, uint64_t ref)
{
    uint64_t *entry = root;
    unsigned above = 0;

    while (above < depth) {
        CHECK(trie_is_node(*entry));
        const unsigned bits = trie_node_bits(*entry);
        uint64_t *refs = trie_ptr(*entry);
        if (depth < above + bits) {
            size_t count;
            uint64_t *first = node_range(refs, bits, above, hash, depth, &count);
            for (size_t i = 0; i < count; i++)
                first[i] = ref;
            return;
        }
        entry = refs + (hash << above >> (64 - bits));
        above += bits;
    }
    const size_t count = trie_is_node(*entry) ? (size_t)1 << trie_node_bits(*entry) : 1;
    uint64_t *refs = trie_is_node(*entry) ? trie_ptr(*entry) : entry;
    for (size_t i = 0; i < count; i++)
        refs[i] = ref;
}

void trie_link(uint64_t *root, const struct trie_leaf *leaf, uint64_t ref)
{
    link_part(root, leaf_hash(leaf), leaf->depth, ref);
}

/* --- growing --- */

/* One bit for each entry: which half it goes to. Returns how many go to the upper one. */
static uint32_t split_sides(const struct trie *trie, const struct leaf_view *v, unsigned depth,
                            uint64_t upper[2])
{
    uint32_t count = 0;

    leaf_prefetch(v);
    upper[0] = upper[1] = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        const uint64_t hash =
            trie_entry_hash(trie->ops, trie->ctx, v->fp[i], leaf_load(v->payload, i));
        const uint64_t bit = hash >> (63 - depth) & 1;
        upper[i / 64] |= bit << i % 64;
        count += (uint32_t)bit;
    }
    return count;
}

/* Splits the full leaf at `at` by its next bit. */
static void leaf_split(const struct trie *trie, const struct trie_at *at, struct trie_leaf *leaf)
{
    const struct leaf_view v = view_of(trie, leaf, LEAF_CLASSES);
    const unsigned depth = leaf->depth;
    const uint64_t low = leaf_hash(leaf);
    const uint64_t high = low | 1ull << (63 - depth);
    uint64_t upper[2];

    if (at->depth == depth)
        node_deepen(trie, at);
    const uint32_t count = split_sides(trie, &v, depth, upper);
    if (count == 0 || count == v.count) {
        /* All on one side: the leaf itself covers that, and there is nothing on the other. */
        link_part(trie->root, count == 0 ? high : low, depth + 1, 0);
        leaf->prefix = prefix_of(count == 0 ? low : high, depth + 1);
        leaf->depth = (uint8_t)(depth + 1);
        return;
    }
    const unsigned cls[2] = {class_for(trie, v.count - count + 1), class_for(trie, count + 1)};
    struct trie_leaf *half[2] = {leaf_create(trie, cls[0], low, depth + 1),
                                 leaf_create(trie, cls[1], high, depth + 1)};
    for (uint32_t i = 0; i < v.count; i++) {
        const unsigned side = upper[i / 64] >> i % 64 & 1;
        leaf_append(trie, half[side], cls[side], v.fp[i], leaf_load(v.payload, i));
    }
    trie_link(trie->root, half[0], trie_ref(half[0], cls[0], 0));
    trie_link(trie->root, half[1], trie_ref(half[1], cls[1], 0));
    trie->ops->leaf_free(trie->ctx, leaf, LEAF_CLASSES);
}

/* The leaf at `at` is full, or there is none. */
static NOINLINE void make_room(const struct trie *trie, const struct trie_at *at, uint64_t hash)
{
    const uint64_t ref = *at->entry;
    const unsigned cls = trie_class(ref);
    struct trie_leaf *leaf = trie_ptr(ref);

    if (ref == 0) {
        *at->entry = trie_ref(leaf_create(trie, 1, hash, at->depth), 1, 0);
    } else if (cls < LEAF_CLASSES) {
        (void)leaf_resize(trie, leaf, cls, cls + 1);
    } else if (leaf->depth < TRIE_DEPTH_MAX) {
        leaf_split(trie, at, leaf);
    } else {
        const struct leaf_view v = view_of(trie, leaf, cls);
        (void)big_create(trie, leaf, &v);
        trie->ops->leaf_free(trie->ctx, leaf, cls);
    }
}

void trie_insert(const struct trie *trie, uint64_t hash, uint64_t payload)
{
    struct trie_at at;

    for (;;) {
        trie_locate(trie->root, hash, &at);
        const unsigned cls = trie_class(*at.entry);
        struct trie_leaf *leaf = trie_ptr(*at.entry);
        if (unlikely(cls == LEAF_CLASS_BIG)) {
            big_append(trie, leaf, leaf_fp(hash), payload);
            return;
        }
        if (likely(cls != 0 && leaf->count < trie->ops->caps[cls])) {
            leaf_append(trie, leaf, cls, leaf_fp(hash), payload);
            return;
        }
        /* Each round takes one bit, so that there are at most TRIE_DEPTH_MAX of them. */
        make_room(trie, &at, hash);
    }
}

/* --- shrinking --- */

void trie_take(struct trie_leaf *leaf, unsigned cls, const uint8_t *caps, uint32_t i)
{
    const struct leaf_view v = leaf_view(leaf, cls, caps);
    const uint32_t last = v.count - 1;

    CHECK(i < v.count);
    v.fp[i] = v.fp[last];
    leaf_store(v.payload, i, leaf_load(v.payload, last));
    if (cls == LEAF_CLASS_BIG)
        container_of(leaf, struct leaf_big, head)->count = last;
    else
        leaf->count = (uint8_t)last;
}

/* Two references that can become one: the same, or a leaf beside nothing. */
static bool pair_joins(uint64_t a, uint64_t b)
{
    return a == b || (a == 0 && !trie_is_node(b)) || (b == 0 && !trie_is_node(a));
}

/* The reference for both; a leaf that gets the place beside it has one bit less. */
static uint64_t pair_join(uint64_t a, uint64_t b, unsigned depth)
{
    const uint64_t ref = a != 0 ? a : b;

    if (a != b) {
        struct trie_leaf *leaf = trie_ptr(ref);
        leaf->depth = (uint8_t)(depth - 1);
        leaf->prefix = prefix_of(leaf_hash(leaf), depth - 1);
    }
    return ref;
}

/* Halves the node if it can be; `depth` is that of its references. */
static bool node_halve(const struct trie *trie, uint64_t *node, unsigned depth)
{
    const unsigned bits = trie_node_bits(*node);
    uint64_t *refs = trie_ptr(*node);
    const size_t count = (size_t)1 << (bits - 1);

    for (size_t i = 0; i < count; i++) {
        if (!pair_joins(refs[2 * i], refs[2 * i + 1]))
            return false;
    }
    if (bits == 1) {
        *node = pair_join(refs[0], refs[1], depth);
    } else {
        uint64_t *half = node_create(trie, bits - 1);
        for (size_t i = 0; i < count; i++)
            half[i] = pair_join(refs[2 * i], refs[2 * i + 1], depth);
        *node = trie_ref(half, 0, bits - 1);
    }
    node_free(trie, refs, bits);
    return true;
}

/* Halves the nodes on the way to `hash`, the lowest one first, as long as that goes. */
static void nodes_halve(const struct trie *trie, uint64_t hash)
{
    struct trie_at at;

    do {
        trie_locate(trie->root, hash, &at);
    } while (at.node != NULL && node_halve(trie, at.node, at.depth));
}

/* The buddy of the leaf: `*out` 0 if its part is empty. False: there are nodes or smaller leaves.
 */
static bool buddy_find(const struct trie *trie, const struct trie_leaf *leaf, uint64_t *out)
{
    const uint64_t hash = leaf_hash(leaf) ^ 1ull << (64 - leaf->depth);
    uint64_t *entry = trie->root;
    unsigned above = 0;
    size_t count;

    while (above + trie_node_bits(*entry) < leaf->depth) {
        const unsigned bits = trie_node_bits(*entry);
        entry = (uint64_t *)trie_ptr(*entry) + (hash << above >> (64 - bits));
        above += bits;
    }
    const uint64_t *first =
        node_range(trie_ptr(*entry), trie_node_bits(*entry), above, hash, leaf->depth, &count);
    for (size_t i = 1; i < count; i++) {
        if (first[i] != first[0])
            return false;
    }
    if (trie_is_node(*first))
        return false;
    *out = *first;
    return true;
}

/* Merges the leaf with its buddy if both are small. The leaf as it is then, or NULL. */
static struct trie_leaf *leaf_merge(const struct trie *trie, struct trie_leaf *leaf, unsigned *cls)
{
    uint64_t ref;

    if (leaf->depth == 0 || leaf->count > MERGE_ONE_MAX || !buddy_find(trie, leaf, &ref))
        return NULL;
    const struct trie_leaf *buddy = trie_ptr(ref);
    if (trie_class(ref) == LEAF_CLASS_BIG ||
        (ref != 0 && leaf->count + buddy->count > MERGE_BOTH_MAX))
        return NULL;
    if (ref != 0) {
        const uint32_t total = (uint32_t)leaf->count + buddy->count;
        if (trie->ops->caps[*cls] < total) {
            const unsigned to = class_for(trie, total);
            leaf = leaf_resize(trie, leaf, *cls, to);
            *cls = to;
            /* The buddy may have moved. */
            const bool there = buddy_find(trie, leaf, &ref);
            CHECK(there);
        }
        const struct leaf_view v = view_of(trie, trie_ptr(ref), trie_class(ref));
        for (uint32_t i = 0; i < v.count; i++)
            leaf_append(trie, leaf, *cls, v.fp[i], leaf_load(v.payload, i));
    }
    leaf->depth--;
    leaf->prefix = prefix_of(leaf_hash(leaf), leaf->depth);
    trie_link(trie->root, leaf, trie_ref(leaf, *cls, 0));
    if (ref != 0) {
        const uint64_t hash = leaf_hash(leaf);
        trie->ops->leaf_free(trie->ctx, trie_ptr(ref), trie_class(ref));
        ref = trie_find(*trie->root, hash);
        leaf = trie_ptr(ref);
    }
    return leaf;
}

static void big_settle(const struct trie *trie, struct trie_leaf *leaf)
{
    struct leaf_big *big = container_of(leaf, struct leaf_big, head);

    if (big->count < BIG_ENTRIES_MIN) {
        (void)leaf_move(trie, leaf, LEAF_CLASS_BIG, LEAF_CLASSES);
        big_free(trie, big);
    } else if (big->count < big->cap / 3) {
        const struct leaf_view v = view_of(trie, leaf, LEAF_CLASS_BIG);
        (void)big_create(trie, leaf, &v);
        big_free(trie, big);
    }
}

void trie_settle(const struct trie *trie, struct trie_leaf *leaf, unsigned cls)
{
    const uint64_t hash = leaf_hash(leaf);

    if (cls == LEAF_CLASS_BIG) {
        big_settle(trie, leaf);
        return;
    }
    if (leaf->count == 0) {
        trie_link(trie->root, leaf, 0);
        trie->ops->leaf_free(trie->ctx, leaf, cls);
        nodes_halve(trie, hash);
        return;
    }
    if (cls > 1 && trie->ops->caps[cls - 1] >= leaf->count + SHRINK_SLACK) {
        const unsigned to = class_for(trie, leaf->count + SHRINK_SLACK);
        leaf = leaf_resize(trie, leaf, cls, to);
        cls = to;
    } else if (cls > 1 || leaf->count % 4 != 0) {
        /* Only now and then, so that it costs nothing per entry. */
        return;
    }
    /* A node must be gone before the leaf that has all of it merges with another. */
    while ((leaf = leaf_merge(trie, leaf, &cls)) != NULL)
        nodes_halve(trie, hash);
}

/* --- walking, clearing --- */

uint64_t trie_next(uint64_t *root, uint64_t *hash)
{
    do {
        struct trie_at at;
        trie_locate(root, *hash, &at);
        if (*at.entry != 0) {
            const struct trie_leaf *leaf = trie_ptr(*at.entry);
            *hash = trie_after(*hash, leaf->depth);
            return *at.entry;
        }
        *hash = trie_after(*hash, at.depth);
    } while (*hash != 0);
    return 0;
}

/* Frees all nodes; there are no leaves any more. */
static void nodes_clear(const struct trie *trie)
{
    uint64_t hash = 0;

    while (trie_is_node(*trie->root)) {
        struct trie_at at;
        trie_locate(trie->root, hash, &at);
        CHECK(at.node != NULL);
        const unsigned bits = trie_node_bits(*at.node);
        uint64_t *refs = trie_ptr(*at.node);
        if (at.entry != refs + ((size_t)1 << bits) - 1) {
            hash = trie_after(hash, at.depth);
            continue;
        }
        /* Its last reference: the nodes below went before. The next round looks at its own place.
         */
        *at.node = 0;
        node_free(trie, refs, bits);
    }
}

void trie_clear(const struct trie *trie)
{
    uint64_t hash = 0;

    do {
        const uint64_t ref = trie_next(trie->root, &hash);
        if (ref == 0)
            break;
        struct trie_leaf *leaf = trie_ptr(ref);
        trie_link(trie->root, leaf, 0);
        leaf_give_back(trie, leaf, trie_class(ref));
    } while (hash != 0);
    nodes_clear(trie);
}
