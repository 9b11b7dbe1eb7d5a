/* Parts of up to 8 KiB of blocks of any size: which bytes of its block a group works on.
 *
 * grid: none of its own: a function. */
#define WORDS_OF_PLANE (BLOCK_BYTES / 4u / UNIT) /* of a whole part */

typedef struct {
    u32 block, inside, bytes, plane; /* where the block begins, and in it the part; bytes of the part; bytes of one of the block's planes */
} Part;

/* usable: bytes of the frame that lie in blocks; a frame of fewer than 8 elements has one part of no bytes */
INLINE Part part_of(u32 group, u32 usable, u32 step) {
    Part p;
    u32 parts = step / BLOCK_BYTES + (step % BLOCK_BYTES ? 1u : 0u);
    p.block = group / parts * step;
    p.inside = group % parts * BLOCK_BYTES;
    u32 whole = smaller(step, usable - p.block);
    p.bytes = smaller(BLOCK_BYTES, whole - p.inside);
    p.plane = whole / UNIT;
    return p;
}
