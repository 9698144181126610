/*
 * CRC-64 with the polynomial of Jones (0xad93d23594c935a9), bits reflected, starting at 0: that of
 * Redis's dumps. "123456789" gives 0xe9c6d914c4b8d9ca.
 */
#ifndef TIERRA_ENGINE_BASE_CRC64_H
#define TIERRA_ENGINE_BASE_CRC64_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

/* The sum of what `crc` is the sum of, and `data` behind it. */
MUST_USE uint64_t crc64(uint64_t crc, struct bytes data);

#endif
