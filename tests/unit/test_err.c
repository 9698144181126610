/*
 * Error numbers: every one has a name and a text, of either sign.
 */
#include <errno.h>
#include <limits.h>

#include "engine/base/err.h"

#include "tests/lib/tcase.h"

static void our_errors_have_names_and_texts(void **state UNUSED)
{
    expect_str(err_name(-ERR_CORRUPT), "ERR_CORRUPT");
    expect_str(err_name(ERR_CORRUPT), "ERR_CORRUPT");
    expect_str(err_name(-ERR_POISON), "ERR_POISON");
    for (int err = ERR_BASE + 1; err < ERR_END; err++) {
        assert_true(strncmp(err_name(-err), "ERR_", 4) == 0);
        assert_true(strlen(err_str(-err)) > 0);
        assert_ptr_equal(err_str(err), err_str(-err));
    }
}

static void errors_of_the_system_keep_their_own(void **state UNUSED)
{
    expect_str(err_name(-ENOSPC), "ENOSPC");
    expect_str(err_str(-ENOSPC), "No space left on device");
    expect_str(err_str(ENOSPC), "No space left on device");
    expect_str(err_str(0), "ok");
}

static void a_number_without_meaning_still_has_a_text(void **state UNUSED)
{
    const int numbers[] = {ERR_BASE, ERR_END, -ERR_END, 4000, INT_MAX, -INT_MAX, INT_MIN};

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        expect_str(err_str(numbers[i]), "unknown error");
        expect_str(err_name(numbers[i]), "?");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_errors_have_names_and_texts),
        cmocka_unit_test(errors_of_the_system_keep_their_own),
        cmocka_unit_test(a_number_without_meaning_still_has_a_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
