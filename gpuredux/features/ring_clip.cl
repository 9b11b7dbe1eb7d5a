/* Clipped mean and threshold of every ring of every frame.
 * grid: BLOCK = ring, BLOCK_Y = frame. A block walks its ring's pixels ROUNDS times, the first HELD of them from SHARED; sums are whole numbers, so their
 * order does not matter. f64: what bounds are derived in, each operation rounded once. */
#define HELD 4096u
#define ROUNDS 5
#define LARGEST 2147483520.0f

KERNEL(128) ring_clip(GLOBAL const WORD *image, GLOBAL const u8 *marks, GLOBAL const u32 *order, GLOBAL const u32 *first, GLOBAL const i32 *live,
                      GLOBAL f32 *mean, GLOBAL f32 *high, GLOBAL u32 *frame_status, f64 snr, f64 unit, f64 adc, f32 scale, f32 most, u32 n, u32 rings, u32 npix) {
    SHARED f32 held[HELD];
    SHARED u64 part[4][128];
    u32 ring = BLOCK, frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix;
    u32 begin = first[ring], size = first[ring + 1u] - begin;
    bool beyond = false;
    f32 m = 0.0f, lo = LEGACY ? -1e9f : -bits_f32(0x7f800000u), hi = LEGACY ? 1e9f : bits_f32(0x7f800000u);
    for (u32 round = 0u; round < ROUNDS; round++) {
        u64 count = 0u, low = 0u, top = 0u;
        i64 total = 0;
        for (u32 base = 0u; base < size; base += 128u) {
            u32 j = base + LID;
            if (j < size) {
                f32 x;
                if (round == 0u || j >= HELD) {
                    u32 pixel = order[begin + j];
                    x = (f32)image[at + pixel];
#if MARKED
                    if (marks[at + pixel]) x = bits_f32(0x7fc00000u);
#endif
                    if (!is_finite(x)) x = bits_f32(0x7fc00000u); /* which is in no interval */
                    if (abs_f32(rint_f32(x * scale)) > LARGEST) beyond = true;
                    x = limited(x, most);
                    if (j < HELD) held[j] = x;
                } else x = held[j];
                bool inside = (LEGACY ? x > lo : x >= lo) && x < hi;
                i64 q = inside ? (i64)(i32)rint_f32(x * scale) : 0;
                u64 square = (u64)(q * q);
                count += inside ? 1u : 0u;
                total += q;
                low += square & 0xffffffffu;
                top += square >> 32;
            }
        }
        part[0][LID] = count;
        part[1][LID] = (u64)total;
        part[2][LID] = low;
        part[3][LID] = top;
        SYNC;
        for (u32 reach = 64u; reach; reach >>= 1) {
            if (LID < reach)
                for (u32 k = 0u; k < 4u; k++) part[k][LID] += part[k][LID + reach];
            SYNC;
        }
        count = part[0][0];
        total = (i64)part[1][0];
        low = part[2][0];
        top = part[3][0];
        SYNC; /* they are written again */
        if (count) {
            f64 many = (f64)count, average = (f64)total * unit / many;
            f64 square = ((f64)(top + (low >> 32)) * 4294967296.0 + (f64)(low & 0xffffffffu)) * (unit * unit) / many;
            f64 variance = square - average * average;
            f64 spread = sqrt(variance > 0.0 ? variance : 0.0) * snr;
            f64 up = average + spread;
            m = (f32)average;
            lo = (f32)(average - spread);
            hi = (f32)(up > adc ? up : adc);
        } else if (LEGACY) {
            m = 0.0f;
            lo = bits_f32(0x00800000u);
            hi = bits_f32(0x7f7fffffu);
        }
    }
    if (LID == 0u) {
        mean[(u64)frame * rings + ring] = m;
        high[(u64)frame * rings + ring] = hi;
    }
#if FRAME_STATUS
    if (beyond) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT);
#endif
}
