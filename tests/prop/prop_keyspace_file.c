/* Harm to the checkpoint of the key table: prop_keyspace_file.h. */
#include "tests/prop/prop_keyspace_file.h"

#include "engine/base/buf.h"
#include "engine/base/rng.h"

#include "engine/io/file.h"
#include "engine/space/keyfile.h"
#include "engine/space/keylog.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/vv.h"

#include "tests/lib/tcase.h"

#define FILE_BYTES_MAX (1u << 20)

void keys_file_copy(const char *from, const char *to)
{
    struct buf content;

    buf_init(&content, FILE_BYTES_MAX);
    if (file_read_all(from, &content) == 0)
        assert_int_equal(file_write_atomic(to, buf_bytes(&content)), 0);
    buf_deinit(&content);
}

static void flip_or_cut(struct rng *rng, const char *path, bool flip)
{
    struct buf content;

    buf_init(&content, FILE_BYTES_MAX);
    if (file_read_all(path, &content) == 0 && content.len != 0) {
        const size_t at = (size_t)rng_below(rng, content.len);
        if (flip)
            content.ptr[at] ^= (uint8_t)(1u << rng_below(rng, 8));
        assert_int_equal(file_write_atomic(path, bytes_of(content.ptr, flip ? content.len : at)),
                         0);
    }
    buf_deinit(&content);
}

void keys_file_harm(struct rng *rng, const char *path, const char *old, const char *alien)
{
    switch (rng_below(rng, 12)) {
    case 0:
        flip_or_cut(rng, path, true);
        break;
    case 1:
        flip_or_cut(rng, path, false);
        break;
    case 2:
        keyfile_remove(path);
        break;
    case 3:
        keys_file_copy(old, path);
        break;
    case 4:
        keys_file_copy(alien, path);
        break;
    default:
        break;
    }
}

struct store *keys_store_fresh(struct store_mem_disk *disk, const struct store_options *options,
                               bool head_wanted, uint64_t lsn, const struct vv *vv)
{
    struct keylog_head head = {0};
    struct store *store;
    struct store_batch batch;
    uint8_t text[VV_BYTES_MAX];

    assert_int_equal(store_mem_open(disk, options, &store), 0);
    store_batch_init(&batch, 4096);
    assert_int_equal(keylog_new_id(&head.id), 0);
    if (head_wanted)
        keylog_put_head(&batch, &head);
    assert_int_equal(store_batch_set_covered(&batch, lsn, bytes_of(text, vv_encode(vv, text))), 0);
    assert_int_equal(store_write(store, &batch, 0), 0);
    assert_int_equal(store_flush(store), 0);
    store_batch_deinit(&batch);
    return store;
}
