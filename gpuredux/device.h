/* The whole portability layer: one C dialect for CUDA (NVRTC) and OpenCL C 1.2.
 *
 *   KERNEL(T) name(...)     a kernel with blocks of exactly T threads (T a multiple of 32)
 *   GLOBAL, SHARED          address spaces, of declarations and of pointers
 *   LID, BLOCK, BLOCK_Y     thread in the block, block in the grid;  LANE, WARP: LID % 32, LID / 32
 *   SYNC                    all threads of the block
 *   WARP_SCRATCH(w, T)      first line of a kernel that uses warp operations; w is passed to each of them
 *   warp_ballot(w, p)  warp_shuffle(w, v, lane)  warp_shuffle_xor(w, v, mask)  warp_scan(w, v)  warp_sum  warp_max
 *   block_scan(w, sums, v, &total)   the same over a block of 128, by way of SHARED u32 sums[4]
 *
 * Hazard: every warp operation and every SYNC must be reached by all threads of the block equally often (block-uniform
 * loops and returns, predicates elsewhere). Tier 3 emulates a warp with block barriers and is silently wrong otherwise.
 * Hazard: IN_ORDER before every loop that adds floats: Intel's CPU runtime makes partial sums of it, FP_CONTRACT OFF or not (tried: another last bit).
 * Hazard: no "continue" in a loop with a SYNC or a warp operation behind it, block-uniform or not: PoCL 3.1 loses that code (tried). */

#if defined(__CUDACC_RTC__) || defined(__CUDACC__) /* ------------------------------------------------ CUDA: tier 1 */
typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef short i16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;
typedef float f32;
typedef double f64;
#ifndef BLOCKS_AT_LEAST /* on a multiprocessor: a kernel may have 65536 / (T * BLOCKS_AT_LEAST) registers; without it ptxas spills a few of them at will */
#define BLOCKS_AT_LEAST 4
#endif
#define KERNEL(T) extern "C" __global__ void __launch_bounds__(T, BLOCKS_AT_LEAST)
#define INLINE static __device__ __forceinline__
#define GLOBAL
#define SHARED __shared__
#define SHARED_PTR
#define SYNC __syncthreads()
#define LID ((u32)threadIdx.x)
#define BLOCK_OF(axis) ((u32)(axis == 0 ? blockIdx.x : blockIdx.y))
#define UNROLL _Pragma("unroll")
#define UNROLL_ON_GPU UNROLL
#define IN_ORDER
#define f32_bits(x) __float_as_uint(x)
#define bits_f32(x) __uint_as_float(x)
#define fma_f32(a, b, c) __fmaf_rn(a, b, c)
#define rint_f32(x) rintf(x)
#define floor_f32(x) floorf(x)
#define abs_f32(x) fabsf(x)
#define count_ones(x) ((u32)__popc(x))
#define leading_zeros(x) ((u32)__clz((int)(x)))
#define trailing_zeros(x) ((u32)__clz((int)__brev(x))) /* 32 for x = 0, as in OpenCL below */
#define atomic_or_u32(p, v) atomicOr(p, v)
#define atomic_add_u32(p, v) atomicAdd(p, v)
#define atomic_max_u32(p, v) atomicMax(p, v)
#define atomic_min_u32(p, v) atomicMin(p, v)
#define WARP_TIER 1
#elif defined(__OPENCL_VERSION__) /* ---------------------------------------------------------- OpenCL: tiers 2 and 3 */
#pragma OPENCL FP_CONTRACT OFF
typedef uchar u8;
typedef char i8;
typedef ushort u16;
typedef short i16;
typedef uint u32;
typedef int i32;
typedef ulong u64;
typedef long i64;
typedef float f32;
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double f64;
#endif
#if WARP_TIER == 2
#pragma OPENCL EXTENSION cl_khr_subgroup_ballot : enable
#pragma OPENCL EXTENSION cl_khr_subgroup_shuffle : enable
#define KERNEL(T) __kernel __attribute__((reqd_work_group_size(T, 1, 1))) __attribute__((intel_reqd_sub_group_size(32))) void
#else
#define KERNEL(T) __kernel __attribute__((reqd_work_group_size(T, 1, 1))) void
#endif
/* always: PoCL 3.1 loses SHARED arrays in a function that LLVM chose not to inline (tried: wrong numbers, or a crash of its compiler) */
#define INLINE static inline __attribute__((always_inline))
#define GLOBAL __global
#define SHARED __local
#define SHARED_PTR __local
#define SYNC barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#define LID ((u32)get_local_id(0))
#define BLOCK_OF(axis) ((u32)get_group_id(axis))
#define UNROLL _Pragma("unroll")
#ifdef ON_CPU /* arrays of a thread lie in its cache there, registers or not; unrolled, long bodies take Intel's compiler up to half a minute (tried) */
#define UNROLL_ON_GPU _Pragma("unroll 1")
#else
#define UNROLL_ON_GPU UNROLL
#endif
#define IN_ORDER _Pragma("clang loop vectorize(disable) interleave(disable)")
#define f32_bits(x) as_uint(x)
#define bits_f32(x) as_float(x)
#define fma_f32(a, b, c) fma((f32)(a), (f32)(b), (f32)(c))
#define rint_f32(x) rint((f32)(x))
#define floor_f32(x) floor((f32)(x))
#define abs_f32(x) fabs((f32)(x))
#define count_ones(x) popcount((u32)(x))
#define leading_zeros(x) clz((u32)(x))
#define trailing_zeros(x) (32u - clz(~(u32)(x) & ((u32)(x) - 1u)))
#define atomic_or_u32(p, v) atomic_or(p, v)
#define atomic_add_u32(p, v) atomic_add(p, v)
#define atomic_max_u32(p, v) atomic_max(p, v)
#define atomic_min_u32(p, v) atomic_min(p, v)
#else
#error "gpuredux: neither CUDA nor OpenCL"
#endif
#ifdef AXES_SWAPPED /* Plan.launch: BLOCK_Y goes beyond CUDA's second axis */
#define BLOCK BLOCK_OF(1)
#define BLOCK_Y BLOCK_OF(0)
#else
#define BLOCK BLOCK_OF(0)
#define BLOCK_Y BLOCK_OF(1)
#endif

/* frames: a block walks FRAMES of them; rows at or beyond live are neither read nor written */
#ifndef FRAMES
#define FRAMES 16u
#endif
#ifndef LIVE
#define LIVE 0
#endif
#if LIVE
#define LIVE_ROWS(live, n) ((live)[0] < 0 ? 0u : (u32)(live)[0] < (n) ? (u32)(live)[0] : (n))
#else
#define LIVE_ROWS(live, n) (n)
#endif
INLINE u32 smaller(u32 a, u32 b) { return a < b ? a : b; }
INLINE bool is_finite(f32 x) { return (f32_bits(x) & 0x7f800000u) != 0x7f800000u; }
INLINE f32 limited(f32 x, f32 most) { return x > most ? most : x < -most ? -most : x; }
#define MOST_UNITS 2147483520.0f /* LARGEST of features/frames.py */
/* a finite float in whole units, ties to even, and whether it had to be limited */
INLINE i64 whole_units(f32 x, f32 per_unit, bool *beyond) {
    f32 steps = rint_f32(x * per_unit);
    *beyond = abs_f32(steps) > MOST_UNITS;
    return (i64)(i32)limited(steps, MOST_UNITS);
}
INLINE u32 f32_key(f32 x) { u32 b = f32_bits(x); return b >> 31 ? ~b : b | 0x80000000u; } /* a u32 in the order of the values; -0 is below 0 */
INLINE f32 key_f32(u32 k) { return bits_f32(k >> 31 ? k & 0x7fffffffu : ~k); }
INLINE f32 clean(f32 x) { return x == x ? x : bits_f32(0x7fc00000u); } /* the one NaN that is ever written: arithmetic's own differs between devices */
/* a table's value at a place between two of its n, 0 <= at <= n - 1: linear; where one of both is NaN, the other one */
INLINE f32 between(GLOBAL const f32 *table, f32 at, u32 n) {
    u32 low = (u32)at;
    f32 part = at - (f32)low, a = table[low], b = table[low + 1u < n ? low + 1u : low];
    return a != a ? b : b != b ? a : a * (1.0f - part) + b * part;
}
#define FRAMES_END(live, n) smaller((BLOCK_Y + 1u) * FRAMES, LIVE_ROWS(live, n))

/* The data's status bits of the FRAMES frames that a thread walks, 4 bits each in one u64: no branch and no atomic in the loop. */
#define FRAME_BITS(bits, frame) ((u64)((bits) & PIXEL_FROM_DATA) << 4u * ((frame) % FRAMES))
INLINE void frame_bits_write(GLOBAL u32 *frame_status, u64 seen, u32 end) {
    if (seen == 0) return;
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 bits = (u32)(seen >> 4u * (frame % FRAMES)) & 15u;
        if (bits) atomic_or_u32(frame_status + frame, bits); /* rare; OR is the same in any order */
    }
}

#define LANE (LID & 31u)
#define WARP (LID >> 5)

/* SHARED_BYTES(name): name points to the SHARED memory that plan.launch(shared=bytes) asked for, as words at a multiple of 16 bytes.
 * Beyond 48 KiB CUDA gives it only like this. */
#ifdef SHARED_SIZE
#if WARP_TIER == 1
#define SHARED_BYTES(name)                   \
    extern __shared__ uint4 shared_bytes[]; \
    SHARED_PTR u32 *name = (SHARED_PTR u32 *)shared_bytes
#else
#define SHARED_BYTES(name)                        \
    SHARED uint4 shared_bytes[SHARED_SIZE / 16]; \
    SHARED_PTR u32 *name = (SHARED_PTR u32 *)shared_bytes
#endif
#endif

/* ----------------------------------------------------------------------------------------------- warp operations */
#if WARP_TIER == 1
typedef u32 Warp; /* nothing to carry */
#define WARP_SCRATCH(w, T) const Warp w = 0
INLINE u32 warp_ballot(Warp w, bool p) { (void)w; return __ballot_sync(0xffffffffu, p); }
INLINE u32 warp_shuffle(Warp w, u32 v, u32 lane) { (void)w; return __shfl_sync(0xffffffffu, v, (int)lane); }
INLINE u32 warp_shuffle_xor(Warp w, u32 v, u32 mask) { (void)w; return __shfl_xor_sync(0xffffffffu, v, (int)mask); }
#elif WARP_TIER == 2
typedef u32 Warp;
#define WARP_SCRATCH(w, T) const Warp w = 0
INLINE u32 warp_ballot(Warp w, bool p) { return sub_group_ballot(p).x; }
INLINE u32 warp_shuffle(Warp w, u32 v, u32 lane) { return sub_group_shuffle(v, lane); }
INLINE u32 warp_shuffle_xor(Warp w, u32 v, u32 mask) { return sub_group_shuffle_xor(v, mask); }
#else
typedef SHARED_PTR u32 *Warp; /* one word a thread */
#define WARP_SCRATCH(w, T) SHARED u32 w##_words[T]; const Warp w = w##_words
INLINE u32 warp_ballot(Warp w, bool p) {
    w[LID] = p ? 1u : 0u;
    SYNC;
    u32 bits = 0;
    for (u32 k = 0; k < 32; k++) bits |= w[(LID & ~31u) + k] << k;
    SYNC;
    return bits;
}
INLINE u32 warp_shuffle(Warp w, u32 v, u32 lane) {
    w[LID] = v;
    SYNC;
    u32 r = w[(LID & ~31u) + (lane & 31u)];
    SYNC;
    return r;
}
INLINE u32 warp_shuffle_xor(Warp w, u32 v, u32 mask) { return warp_shuffle(w, v, LANE ^ mask); }
#endif

/* inclusive prefix sum over the lanes */
INLINE u32 warp_scan(Warp w, u32 v) {
    for (u32 step = 1; step < 32; step <<= 1) {
        u32 below = warp_shuffle(w, v, LANE >= step ? LANE - step : 0u);
        if (LANE >= step) v += below;
    }
    return v;
}
INLINE u32 warp_sum(Warp w, u32 v) {
    for (u32 mask = 16; mask; mask >>= 1) v += warp_shuffle_xor(w, v, mask);
    return v;
}
INLINE u32 warp_max(Warp w, u32 v) {
    for (u32 mask = 16; mask; mask >>= 1) {
        u32 other = warp_shuffle_xor(w, v, mask);
        v = other > v ? other : v;
    }
    return v;
}

/* inclusive prefix sum over a block of 128 threads; a SYNC must come before `sums` is written again */
INLINE u32 block_scan(Warp w, SHARED_PTR u32 *sums, u32 v, u32 *total) {
    u32 up_to = warp_scan(w, v), all = 0u;
    if (LANE == 31u) sums[WARP] = up_to;
    SYNC;
    for (u32 k = 0; k < 4u; k++) {
        up_to += k < WARP ? sums[k] : 0u;
        all += sums[k];
    }
    *total = all;
    return up_to;
}

/* column 0 of part (rows, 128) becomes the sum of the row; all of the block is past it when that can be read */
#define SUM_ROWS(part, rows)                                                                \
    do {                                                                                    \
        SYNC;                                                                               \
        for (u32 reach_ = 64u; reach_; reach_ >>= 1) {                                      \
            if (LID < reach_)                                                               \
                for (u32 k_ = 0u; k_ < (rows); k_++) (part)[k_][LID] += (part)[k_][LID + reach_]; \
            SYNC;                                                                           \
        }                                                                                   \
    } while (0)

/* ------------------------------------------------------------------------------------------ bit matrices in registers
 * swap the off-diagonal squares of side s: after all steps bit j of v[p] is bit p of v[j], in each byte or half word */
#define TRANSPOSE_STEP(v, count, s, mask)                       \
    UNROLL                                                      \
    for (u32 a_ = 0; a_ < (count); a_++)                        \
        if ((a_ & (s)) == 0u) {                                 \
            u32 t_ = (((v)[a_] >> (s)) ^ (v)[a_ + (s)]) & mask; \
            (v)[a_ + (s)] ^= t_;                                \
            (v)[a_] ^= t_ << (s);                               \
        }
#define TRANSPOSE8(v) TRANSPOSE_STEP(v, 8u, 4u, 0x0f0f0f0fu) TRANSPOSE_STEP(v, 8u, 2u, 0x33333333u) TRANSPOSE_STEP(v, 8u, 1u, 0x55555555u)
#define TRANSPOSE16(v) TRANSPOSE_STEP(v, 16u, 8u, 0x00ff00ffu) TRANSPOSE_STEP(v, 16u, 4u, 0x0f0f0f0fu) \
    TRANSPOSE_STEP(v, 16u, 2u, 0x33333333u) TRANSPOSE_STEP(v, 16u, 1u, 0x55555555u)

/* --------------------------------------------------------------------------------------------- kernels of pixels alone
 * KERNEL_PIXELS(T)   a kernel without warp operations, 16 lanes wide on Intel's CPU runtime (32: a quarter of the speed, tried).
 * FIRST_PIXEL        of this thread, an Index: 64 bits in OpenCL, whose vectoriser cannot see in a 32-bit sum that neighbours lie
 *                    side by side, and gathers (a quarter of the speed, tried).
 * ANY_BESIDE(whole, p)   true at least where p is. Where a compiler makes vectors of threads: whether p holds in any of the same vector, so that
 *                    all skip a rare branch at once; elsewhere simply true, and the branch is no branch. whole: a constant, true only
 *                    where all threads of the block come by, which TILE_WHOLE(npix) says. */
#if WARP_TIER == 2
#define KERNEL_PIXELS(T) __kernel __attribute__((reqd_work_group_size(T, 1, 1))) __attribute__((intel_reqd_sub_group_size(16))) void
#define TILE_WHOLE(npix) ((BLOCK + 1u) * 128u * VECTOR <= (npix))
#define ANY_BESIDE(whole, p) (!(whole) || sub_group_any(p))
#else
#define KERNEL_PIXELS(T) KERNEL(T)
#define TILE_WHOLE(npix) false
#define ANY_BESIDE(whole, p) true
#endif
#if WARP_TIER == 1
typedef u32 Index;
#define FIRST_PIXEL ((BLOCK * 128u + LID) * VECTOR)
#else
typedef u64 Index;
#ifdef AXES_SWAPPED
#define FIRST_PIXEL (((Index)BLOCK * 128u + LID) * VECTOR)
#else
#define FIRST_PIXEL ((Index)get_global_id(0) * VECTOR)
#endif
#endif

/* --------------------------------------------------------------------------------- VECTOR pixels in 16-byte pieces
 * VECTOR is 8 where a frame's pixels are a multiple of 8, else 1; the pointer is 16-byte aligned for VECTOR = 8. */
#ifdef VECTOR
INLINE void load_u16(GLOBAL const u16 *p, u32 *x) {
#if VECTOR == 8
    uint4 v = *(GLOBAL const uint4 *)p;
    x[0] = v.x & 0xffffu; x[1] = v.x >> 16; x[2] = v.y & 0xffffu; x[3] = v.y >> 16;
    x[4] = v.z & 0xffffu; x[5] = v.z >> 16; x[6] = v.w & 0xffffu; x[7] = v.w >> 16;
#else
    x[0] = p[0];
#endif
}
INLINE void store_u16(GLOBAL u16 *p, const u32 *x) {
#if VECTOR == 8
    uint4 v;
    v.x = x[0] | x[1] << 16; v.y = x[2] | x[3] << 16; v.z = x[4] | x[5] << 16; v.w = x[6] | x[7] << 16;
    *(GLOBAL uint4 *)p = v;
#else
    p[0] = (u16)x[0];
#endif
}
INLINE void load_f32(GLOBAL const f32 *p, f32 *x) {
#if VECTOR == 8
    float4 a = ((GLOBAL const float4 *)p)[0], b = ((GLOBAL const float4 *)p)[1];
    x[0] = a.x; x[1] = a.y; x[2] = a.z; x[3] = a.w; x[4] = b.x; x[5] = b.y; x[6] = b.z; x[7] = b.w;
#else
    x[0] = p[0];
#endif
}
INLINE void store_f32(GLOBAL f32 *p, const f32 *x) {
#if VECTOR == 8
    float4 a, b;
    a.x = x[0]; a.y = x[1]; a.z = x[2]; a.w = x[3]; b.x = x[4]; b.y = x[5]; b.z = x[6]; b.w = x[7];
    ((GLOBAL float4 *)p)[0] = a;
    ((GLOBAL float4 *)p)[1] = b;
#else
    p[0] = x[0];
#endif
}
INLINE void load_u32(GLOBAL const u32 *p, u32 *x) {
#if VECTOR == 8
    uint4 a = ((GLOBAL const uint4 *)p)[0], b = ((GLOBAL const uint4 *)p)[1];
    x[0] = a.x; x[1] = a.y; x[2] = a.z; x[3] = a.w; x[4] = b.x; x[5] = b.y; x[6] = b.z; x[7] = b.w;
#else
    x[0] = p[0];
#endif
}
INLINE void store_u32(GLOBAL u32 *p, const u32 *x) {
#if VECTOR == 8
    uint4 a, b;
    a.x = x[0]; a.y = x[1]; a.z = x[2]; a.w = x[3]; b.x = x[4]; b.y = x[5]; b.z = x[6]; b.w = x[7];
    ((GLOBAL uint4 *)p)[0] = a;
    ((GLOBAL uint4 *)p)[1] = b;
#else
    p[0] = x[0];
#endif
}
INLINE void load_u8(GLOBAL const u8 *p, u32 *x) {
#if VECTOR == 8
    uint2 v = *(GLOBAL const uint2 *)p;
    for (u32 k = 0; k < 4; k++) { x[k] = v.x >> 8 * k & 0xffu; x[4 + k] = v.y >> 8 * k & 0xffu; }
#else
    x[0] = p[0];
#endif
}
INLINE void store_u8(GLOBAL u8 *p, const u32 *x) {
#if VECTOR == 8
    uint2 v;
    v.x = x[0] | x[1] << 8 | x[2] << 16 | x[3] << 24;
    v.y = x[4] | x[5] << 8 | x[6] << 16 | x[7] << 24;
    *(GLOBAL uint2 *)p = v;
#else
    p[0] = (u8)x[0];
#endif
}

/* ----------------------------------------------------------------------------------------------------------- LOAD
 * A kernel that reads an input only as
 *     LOAD_BEGIN(held, pixel, npix)                  once a thread and pixel group, outside the loop over frames
 *     LOAD(held, frame, pixel, npix, x, bits)        x[VECTOR] f32; bits[VECTOR] u32: STATUS_OF(bits) the Pixel status, 0 = good,
 *                                                    STAGE_OF(bits) the gain stage, where somebody asked for it
 * takes per-pixel ops in: backends.py makes these four names (LOAD_PARAMS and Held too) of stages, each named by its file's stem.
 * A source, first: STEM_PARAMS, StemHeld, STEM_BEGIN(held, pixel, npix), STEM_LOAD(held, frame, pixel, npix, x, bits); after it any
 * number of steps with STEM_APPLY, which changes x and bits in place. LOAD_WHOLE is what a source gives to ANY_BESIDE for `whole`: a kernel that
 * looks at TILE_WHOLE defines it anew; LOAD_FIRST is what store.cl goes by, for a kernel that comes by a pixel twice. This is the plainest source:
 * arrays. */
#define LOAD_WHOLE false
#define LOAD_FIRST true
#define STATUS_OF(bits) ((bits) & 0xffu)
#define STAGE_OF(bits) ((bits) >> 8)
#ifdef PLAIN
#define PLAIN_PARAMS GLOBAL const f32 *plain, GLOBAL const u8 *plain_status, GLOBAL const u8 *plain_stage
typedef struct {
    u32 nothing;
} PlainHeld;
#define PLAIN_BEGIN(held, pixel, npix) (held).nothing = 0u
#define PLAIN_LOAD(held, frame, pixel, npix, x, bits) plain_load(plain, plain_status, plain_stage, (u64)(frame) * (npix) + (pixel), x, bits)
INLINE void plain_load(PLAIN_PARAMS, u64 at, f32 *x, u32 *bits) {
    load_f32(plain + at, x);
    for (u32 k = 0; k < VECTOR; k++) bits[k] = 0u;
#if PLAIN_STATUS
    load_u8(plain_status + at, bits);
#endif
#if PLAIN_STAGE
    u32 stage[VECTOR];
    load_u8(plain_stage + at, stage);
    for (u32 k = 0; k < VECTOR; k++) bits[k] |= stage[k] << 8;
#endif
}
#endif

/* ----------------------------------------------------------------------------------------------------------- GIVE
 * A kernel that ends each pixel with
 *     GIVE_BEGIN(given, pixel, npix)                        as LOAD_BEGIN
 *     GIVE(given, frame, pixel, npix, x, bits, mine)        x and bits as LOAD has them; mine: bit k for a pixel that is this thread's to write
 * and begins its parameters behind LOAD_PARAMS with GIVE_PARAMS (a comma ends them) hands its pixels on to the ops behind it: steps as in LOAD, and
 * stages that store, with STEM_GIVE(held, frame, pixel, npix, x, bits, mine) in place of STEM_APPLY. Without any GIVES is 0, and the rest is nothing. */
#define ALL_MINE ((1u << VECTOR) - 1u)
INLINE void give_f32(GLOBAL f32 *p, const f32 *x, u32 mine) {
    if (mine == ALL_MINE) store_f32(p, x);
    else for (u32 k = 0; k < VECTOR; k++) if (mine >> k & 1u) p[k] = x[k];
}
INLINE void give_u8(GLOBAL u8 *p, const u32 *x, u32 mine) {
    if (mine == ALL_MINE) store_u8(p, x);
    else for (u32 k = 0; k < VECTOR; k++) if (mine >> k & 1u) p[k] = (u8)x[k];
}
#endif

#ifdef PHOTON_BITS /* photons as they are stored, in as many bits as they have */
#if PHOTON_BITS == 8
typedef u8 Photon;
#define store_photons store_u8
#elif PHOTON_BITS == 16
typedef u16 Photon;
#define store_photons store_u16
#else
typedef u32 Photon;
#define store_photons store_u32
#endif
#endif
