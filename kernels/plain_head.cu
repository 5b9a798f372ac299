// head_segments_f32   As head_segments_T of logprob_head.cu, from float32 operands by float32 multiply-adds: x [rows, d], W [vocab, d]. A block: 64 rows by one segment of 2,048 ids, in
//                     tiles of 64; a thread keeps the sums of four rows over four ids of every tile. head_combine takes it from there.
#include "head.cuh"
#include "tile_product.cuh"

KERNEL(head_segments_f32, HeadParams, PRODUCT_THREADS) {
    uint32_t row0 = blockIdx.x * PRODUCT_TILE, segment = blockIdx.y;
    uint32_t mine = row0 + threadIdx.x / 16 * 4;
    Running running[4];
#pragma unroll
    for (int i = 0; i < 4; i++) running[i] = {-INFINITY, 0.0f};
    for (uint32_t id0 = segment * HEAD_SEGMENT; id0 < min(p.vocab, (segment + 1) * HEAD_SEGMENT); id0 += PRODUCT_TILE) {
        float c[4][4] = {};
        tile_product(c, static_cast<const float*>(p.x), p.d, row0, p.rows, static_cast<const float*>(p.weight), id0, p.vocab, p.d);
        uint32_t id = id0 + threadIdx.x % 16 * 4;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float largest = running[i].largest;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                c[i][j] = logit(p, c[i][j], id + j);
                largest = fmaxf(largest, c[i][j]);
            }
            if (mine + i < p.rows)
                for (uint32_t t = p.ptr[mine + i]; t < p.ptr[mine + i + 1]; t++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        if (p.targets[t] == id + j) p.picked[t] = c[i][j];
            if (largest == -INFINITY) continue;
            float sum = running[i].sum * exp2_approx((running[i].largest - largest) * LOG2_E);
#pragma unroll
            for (int j = 0; j < 4; j++) sum += exp2_approx((c[i][j] - largest) * LOG2_E);
            running[i] = {largest, sum};
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        Running r = running[i];
        // The sixteen threads of a row are half a warp.
        for (int by = 1; by < 16; by *= 2) r = together(r, {__shfl_xor_sync(ALL_LANES, r.largest, by), __shfl_xor_sync(ALL_LANES, r.sum, by)});
        if (threadIdx.x % 16 == 0 && mine + i < p.rows) p.sums[uint64_t(segment) * p.rows + mine + i] = {r.largest, r.sum};
    }
}
