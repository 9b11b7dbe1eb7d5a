/* Words of 32 and 64 bits from bytes and to bytes of a chunk, wherever they lie, in either order.
 *
 * grid: none of its own: functions of one thread. */
INLINE u32 be32(GLOBAL const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }
INLINE u32 le32(GLOBAL const u8 *p) { return (u32)p[3] << 24 | (u32)p[2] << 16 | (u32)p[1] << 8 | p[0]; }
INLINE u64 le64(GLOBAL const u8 *p) { return (u64)le32(p + 4) << 32 | le32(p); }

INLINE void put_be32(GLOBAL u8 *p, u32 v) {
    p[0] = (u8)(v >> 24); p[1] = (u8)(v >> 16); p[2] = (u8)(v >> 8); p[3] = (u8)v;
}

INLINE void put_le32(GLOBAL u8 *p, u32 v) {
    p[0] = (u8)v; p[1] = (u8)(v >> 8); p[2] = (u8)(v >> 16); p[3] = (u8)(v >> 24);
}
