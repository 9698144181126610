/*
 * CRC16 and the hash slot of a key, as Redis Cluster defines them.
 *
 * The CRC is XMODEM: polynomial 0x1021, start 0, no reflection, no final xor; "123456789" gives
 * 0x31c3. Slot = CRC16 mod 16384 of the key, or of the part between the first '{' and the next
 * '}' if that part is not empty, so that related keys can be kept together. Source: the Redis
 * Cluster specification, "Key distribution model" and "Hash tags".
 */
#ifndef TIERRA_ENGINE_BASE_CRC16_H
#define TIERRA_ENGINE_BASE_CRC16_H

#include <stdint.h>

#include "engine/base/bytes.h"

#define KEY_SLOTS 16384

uint16_t crc16(struct bytes data);

/* 0 .. KEY_SLOTS - 1. O(key length). */
uint16_t key_slot(struct bytes key);

#endif
