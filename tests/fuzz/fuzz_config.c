/*
 * Fuzz target: the configuration. Properties: a text that is accepted leaves values that CONFIG SET
 * takes back and shows the same; one that is refused has a reason.
 */
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/check.h"

#include "server/config.h"

#include "tests/fuzz/fuzz.h"

#define PRINT_BYTES_MAX (1u << 20)

/* Other files are not part of the input. */
static bool includes(struct bytes text)
{
    for (size_t i = 0; i + 7 <= text.len; i++) {
        if (bytes_eq_nocase(bytes_of(text.ptr + i, 7), "include"))
            return true;
    }
    return false;
}

static void check_value(struct config *cfg, enum config_id id)
{
    struct config_error err;
    struct buf before;
    struct buf after;

    buf_init(&before, PRINT_BYTES_MAX);
    buf_init(&after, PRINT_BYTES_MAX);
    CHECK(config_print(cfg, id, &before) == 0);
    CHECK(config_set_one(cfg, id, buf_bytes(&before), &err) == 0);
    CHECK(config_print(cfg, id, &after) == 0);
    CHECK(bytes_eq(buf_bytes(&before), buf_bytes(&after)));
    buf_deinit(&before);
    buf_deinit(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bytes in = bytes_of(data, size);
    struct config_error err = {.text = ""};

    if (includes(in))
        return 0;
    struct config *cfg = config_create();
    if (config_load_text(cfg, "fuzz", in, &err) != 0) {
        CHECK(err.text[0] != '\0');
    } else {
        for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
            if (cfg->given[i] != 0)
                check_value(cfg, (enum config_id)i);
        }
    }
    config_destroy(cfg);
    return 0;
}
