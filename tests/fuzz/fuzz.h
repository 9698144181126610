/*
 * The entry point of a fuzz target, as libFuzzer defines it.
 */
#ifndef TIERRA_TESTS_FUZZ_FUZZ_H
#define TIERRA_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Runs the code under test over `size` bytes. Returns 0; a fault is a crash. `data` may be NULL. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); /* NOLINT: the name is given */

#endif
