// ssd_gram_T       gram [chunks, groups, 64, 64] float32: C · Bᵀ of a chunk's rows, up to the diagonal; B and C of T (bfloat16 or float16). A block: a chunk, a group.
// ssd_chunks_T_N   With a_t = −e^a_log Δ_t and c_t = Σ a up to t, from a chunk's beginning on, and S the state before it:
//                    y_t = e^(c_t) C_t · S + Σ_{s ≤ t} (C_t · B_s) e^(c_t − c_s) Δ_s x_s + D x_t,   S ← e^(c_last) S + Σ_s e^(c_last − c_s) Δ_s x_s ⊗ B_s.
//                  d_state a multiple of 8 and at most N, head_dim a multiple of 8. What is multiplied is rounded to T (x, B, C, S, both kinds of weights), sums and the
//                  state that is handed on are float32.
//
// Equals, after ssd_rows_T, the verb `ssd` of src/backend/reference.rs. Method: Dao and Gu 2024 (arXiv:2405.21060), section 6; here with a chunk's state in registers.
//
// The bits of a row are its path's: chunks lie at absolute positions, every chunk is computed from its beginning on, and rows that are not there are zeros, whose weights
// are zeros. A block of ssd_chunks: a piece, a head, up to 64 of its numbers, chunk after chunk. Four warps with 16 numbers each hold Sᵀ as the sums of tensor cores,
// [16 numbers, N], which are, rounded, just what the product with C takes.
#include "ptx.cuh"
#include "ssd.cuh"

constexpr int CHUNK_THREADS = 128;
constexpr int CHUNK = int(SSD_CHUNK), SLICE = 64;
// Eight numbers more than a row has, so that eight rows' same eighth lies in different banks.
constexpr int SLICE_STRIDE = SLICE + 8;

struct SsdChunk {
    uint32_t row; // in `mixed`
    uint32_t rows;
};

struct SsdGramParams {
    const SsdChunk* chunks;
    const void* mixed; // [rows, width]
    float* gram;
    uint32_t width;
    uint32_t first; // column of B; C lies groups · d_state further
    uint32_t groups;
    uint32_t d_state;
};
static_assert(sizeof(SsdGramParams) == 40, "twin of params::SsdGram");

// Eighths of rows to shared memory; zeros where there are no rows or columns.
template <class T> __device__ __forceinline__ void fetch_rows(T* to, int stride, const T* from, uint32_t width, uint32_t rows, uint32_t columns, int eighths) {
#pragma unroll 1
    for (int i = threadIdx.x; i < CHUNK * eighths; i += CHUNK_THREADS) {
        int row = i / eighths, eighth = i % eighths;
        bool there = uint32_t(row) < rows && uint32_t(eighth) * 8 < columns;
        cp_async16(to + row * stride + eighth * 8, there ? from + uint64_t(row) * width + eighth * 8 : from, there ? 16 : 0);
    }
}

template <class T> __device__ void ssd_gram(const SsdGramParams& p) {
    T* c_room = reinterpret_cast<T*>(smem);
    T* b_room = c_room + CHUNK * SLICE_STRIDE;
    SsdChunk chunk = p.chunks[blockIdx.x];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const T* b = static_cast<const T*>(p.mixed) + uint64_t(chunk.row) * p.width + p.first + blockIdx.y * p.d_state;
    const T* c = b + p.groups * p.d_state;
    float sum[CHUNK / 8][4] = {};
    for (uint32_t k0 = 0; k0 < p.d_state; k0 += SLICE) {
        __syncthreads();
        fetch_rows(c_room, SLICE_STRIDE, c + k0, p.width, chunk.rows, p.d_state - k0, SLICE / 8);
        fetch_rows(b_room, SLICE_STRIDE, b + k0, p.width, chunk.rows, p.d_state - k0, SLICE / 8);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
#pragma unroll
        for (int k = 0; k < SLICE / 16; k++) {
            uint32_t a[4];
            ldmatrix_x4(a, c_room + (warp * 16 + lane % 16) * SLICE_STRIDE + k * 16 + lane / 16 * 8);
#pragma unroll
            for (int n = 0; n < CHUNK / 16; n++) {
                // Beyond the diagonal nothing is read.
                if (n > warp) continue;
                uint32_t r[4];
                ldmatrix_x4(r, b_room + (n * 16 + lane / 16 * 8 + lane % 8) * SLICE_STRIDE + k * 16 + lane / 8 % 2 * 8);
                mma_16816(sum[2 * n], a, r[0], r[1], T{});
                mma_16816(sum[2 * n + 1], a, r[2], r[3], T{});
            }
        }
    }
    float* gram = p.gram + (uint64_t(blockIdx.x) * p.groups + blockIdx.y) * CHUNK * CHUNK;
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++)
        if (n / 2 <= warp)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float2* to = reinterpret_cast<float2*>(gram + (warp * 16 + i * 8 + lane / 4) * CHUNK + n * 8 + lane % 4 * 2);
                *to = {sum[n][2 * i], sum[n][2 * i + 1]};
            }
}

KERNEL(ssd_gram_bf16, SsdGramParams, CHUNK_THREADS) { ssd_gram<bf16>(p); }
KERNEL(ssd_gram_f16, SsdGramParams, CHUNK_THREADS) { ssd_gram<f16>(p); }

template <class T, int N> __device__ void ssd_chunks(const SsdParams& p) {
    constexpr int STRIDE = N + 8, N_TILES = N / 8;
    T* c_room = reinterpret_cast<T*>(smem);                      // [CHUNK, STRIDE]
    T* b_room = c_room + CHUNK * STRIDE;                         // [CHUNK, STRIDE]
    T* x_room = b_room + CHUNK * STRIDE;                         // [CHUNK, SLICE_STRIDE]
    T* g_room = x_room + CHUNK * SLICE_STRIDE;                   // [CHUNK, SLICE_STRIDE]: weights of x_s in y_t
    float* gram_room = reinterpret_cast<float*>(g_room + CHUNK * SLICE_STRIDE); // [CHUNK, CHUNK]
    float* delta = gram_room + CHUNK * CHUNK;                    // [CHUNK]
    float* sums = delta + CHUNK;                                 // [CHUNK]: c · log2 e
    float* weight = sums + CHUNK;                                // [CHUNK]: of x_s in S

    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint32_t slice = blockIdx.x % p.slices * SLICE, head = blockIdx.x / p.slices % p.heads, group = head / (p.heads / p.groups);
    SsdPiece piece = p.pieces[blockIdx.x / (p.slices * p.heads)];
    ForestRun run = p.forest.runs[piece.run];
    uint32_t d_inner = p.heads * p.head_dim, width = d_inner + 2 * p.groups * p.d_state, numbers = p.head_dim - slice;
    float rate = -expf(p.a_log[head]) * LOG2_E, skip = p.d_skip[head];
    const T* mixed = static_cast<const T*>(p.mixed) + uint64_t(piece.row) * width;

    // Numbers lane / 4 and lane / 4 + 8 of the warp's sixteen; of the state the two numbers 2 (lane % 4) of every eight.
    float s[N_TILES][4];
    auto each_number = [&](auto put) {
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int n = 0; n < N_TILES; n++) {
                uint32_t number = warp * 16 + i * 8 + lane / 4, of_state = n * 8 + lane % 4 * 2;
                bool there = number < numbers && of_state < p.d_state;
                put(there, uint64_t(head * p.head_dim + slice + number) * p.d_state + of_state, s[n][2 * i], s[n][2 * i + 1]);
            }
    };
    auto save = [&](float* to) {
        each_number([&](bool there, uint64_t at, float& a, float& b) {
            if (there) *reinterpret_cast<float2*>(to + at) = {a, b};
        });
    };
    uint32_t first_row = row_at(run, piece.position), next_save = first_save(p.forest, run, first_row);
    const float* from = p.states.before(run, first_row);
    each_number([&](bool there, uint64_t at, float& a, float& b) {
        float2 stored = from && there ? *reinterpret_cast<const float2*>(from + at) : float2{0.0f, 0.0f};
        a = stored.x;
        b = stored.y;
    });

    for (uint32_t begin = piece.from, chunk = piece.chunk; begin < piece.end; begin += CHUNK, chunk++, mixed += uint64_t(CHUNK) * width) {
        uint32_t rows = min(SSD_CHUNK, piece.end - begin);
        // The chunk before this one is read no more.
        __syncthreads();
        const float* gram = p.gram + (uint64_t(chunk) * p.groups + group) * CHUNK * CHUNK;
        // Each thread copies what it weighs itself.
#pragma unroll 1
        for (int i = threadIdx.x; i < CHUNK * CHUNK / 4; i += CHUNK_THREADS)
            if (i % (CHUNK / 4) / 4 <= i / (CHUNK / 4) / 16) cp_async16(gram_room + 4 * i, gram + 4 * i);
        cp_async_commit();
        const T* b = mixed + d_inner + group * p.d_state;
        fetch_rows(b_room, STRIDE, b, width, rows, p.d_state, N / 8);
        fetch_rows(c_room, STRIDE, b + p.groups * p.d_state, width, rows, p.d_state, N / 8);
        fetch_rows(x_room, SLICE_STRIDE, mixed + head * p.head_dim + slice, width, rows, numbers, SLICE / 8);
        cp_async_commit();
        if (warp == 0) {
            // Two rows a lane; a row's sum has those of no later row in it.
            float each[2], before;
#pragma unroll
            for (int i = 0; i < 2; i++) {
                uint32_t row = 2 * lane + i;
                float d = row < rows ? p.delta[uint64_t(piece.row + (begin - piece.from) + row) * p.heads + head] : 0.0f;
                delta[row] = d;
                each[i] = rate * d;
            }
            float sum = each[0] + each[1];
            for (int by = 1; by < WARP; by *= 2) {
                float other = __shfl_up_sync(ALL_LANES, sum, by);
                if (lane >= by) sum += other;
            }
            before = __shfl_up_sync(ALL_LANES, sum, 1);
            if (lane == 0) before = 0.0f;
            sums[2 * lane] = before + each[0];
            sums[2 * lane + 1] = before + each[0] + each[1];
        }
        cp_async_wait<1>();
        __syncthreads();
        for (int i = threadIdx.x; i < CHUNK * CHUNK / 4; i += CHUNK_THREADS) {
            int row = i / (CHUNK / 4), column = i % (CHUNK / 4) * 4;
            if (column / 16 > row / 16) continue;
            float g[4];
#pragma unroll
            for (int j = 0; j < 4; j++) g[j] = column + j <= row ? gram_room[4 * i + j] * exp2_approx(sums[row] - sums[column + j]) * delta[column + j] : 0.0f;
            uint32_t* to = reinterpret_cast<uint32_t*>(g_room + row * SLICE_STRIDE + column);
            to[0] = pair(g[0], g[1], T{});
            to[1] = pair(g[2], g[3], T{});
        }
        if (threadIdx.x < CHUNK) weight[threadIdx.x] = exp2_approx(sums[CHUNK - 1] - sums[threadIdx.x]) * delta[threadIdx.x];
        cp_async_wait<0>();
        __syncthreads();

        // Half of the chunk's rows at a time: the sums of all, beside the state, would not fit the registers.
#pragma unroll 1
        for (int first = 0; first < CHUNK; first += CHUNK / 2) {
            float y[CHUNK / 32][2][4] = {};
#pragma unroll
            for (int k = 0; k < N / 16; k++) {
                uint32_t state[2][2];
#pragma unroll
                for (int i = 0; i < 2; i++)
#pragma unroll
                    for (int half = 0; half < 2; half++) state[i][half] = pair(s[2 * k + half][2 * i], s[2 * k + half][2 * i + 1], T{});
#pragma unroll
                for (int m = 0; m < CHUNK / 32; m++) {
                    uint32_t a[4];
                    ldmatrix_x4(a, c_room + (first + m * 16 + lane % 16) * STRIDE + k * 16 + lane / 16 * 8);
                    mma_16816(y[m][0], a, state[0][0], state[0][1], T{});
                    mma_16816(y[m][1], a, state[1][0], state[1][1], T{});
                }
            }
#pragma unroll
            for (int m = 0; m < CHUNK / 32; m++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float decay = exp2_approx(sums[first + m * 16 + i * 8 + lane / 4]);
#pragma unroll
                    for (int eight = 0; eight < 2; eight++) {
                        y[m][eight][2 * i] *= decay;
                        y[m][eight][2 * i + 1] *= decay;
                    }
                }
#pragma unroll 1
            for (int k = 0; k < first + CHUNK / 2; k += 16) {
                uint32_t x[4];
                ldmatrix_x4_trans(x, x_room + (k + lane % 16) * SLICE_STRIDE + warp * 16 + lane / 16 * 8);
#pragma unroll
                for (int m = 0; m < CHUNK / 32; m++) {
                    if (k > first + m * 16) continue;
                    uint32_t a[4];
                    ldmatrix_x4(a, g_room + (first + m * 16 + lane % 16) * SLICE_STRIDE + k + lane / 16 * 8);
                    mma_16816(y[m][0], a, x[0], x[1], T{});
                    mma_16816(y[m][1], a, x[2], x[3], T{});
                }
            }
#pragma unroll
            for (int m = 0; m < CHUNK / 32; m++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    uint32_t row = first + m * 16 + i * 8 + lane / 4, position = begin + row;
                    if (row >= rows || position < piece.position) continue;
                    float* out = p.out + uint64_t(piece.out_row + (position - piece.position)) * d_inner + head * p.head_dim + slice;
#pragma unroll
                    for (int eight = 0; eight < 2; eight++) {
                        uint32_t number = warp * 16 + eight * 8 + lane % 4 * 2;
                        if (number >= numbers) continue;
                        float2 x = apart(*reinterpret_cast<const uint32_t*>(x_room + row * SLICE_STRIDE + number), T{});
                        *reinterpret_cast<float2*>(out + number) = {fmaf(skip, x.x, y[m][eight][2 * i]), fmaf(skip, x.y, y[m][eight][2 * i + 1])};
                    }
                }
        }

        // Only a whole chunk hands a state on.
        if (rows < SSD_CHUNK) break;
        float decay = exp2_approx(sums[CHUNK - 1]);
#pragma unroll
        for (int n = 0; n < N_TILES; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] *= decay;
#pragma unroll
        for (int k = 0; k < CHUNK / 16; k++) {
            uint32_t x[4];
            ldmatrix_x4_trans(x, x_room + (k * 16 + lane / 16 * 8 + lane % 8) * SLICE_STRIDE + warp * 16 + lane / 8 % 2 * 8);
#pragma unroll
            for (int m = 0; m < 4; m++) {
                const float* w = weight + k * 16 + m / 2 * 8 + lane % 4 * 2;
                float2 two = apart(x[m], T{});
                x[m] = pair(two.x * w[0], two.y * w[1], T{});
            }
#pragma unroll
            for (int n = 0; n < N / 16; n++) {
                uint32_t b[4];
                ldmatrix_x4_trans(b, b_room + (k * 16 + lane % 16) * STRIDE + n * 16 + lane / 16 * 8);
                mma_16816(s[2 * n], x, b[0], b[1], T{});
                mma_16816(s[2 * n + 1], x, b[2], b[3], T{});
            }
        }
        uint32_t last = row_at(run, begin + SSD_CHUNK - 1);
        for (; next_save < run.saves_to && p.forest.saves[next_save].row == last; next_save++) save(p.states.at(p.forest.saves[next_save].to));
    }
    // What the block of rows cuts goes on in the next one.
    if (run.end_row > p.end_row) save(p.states.at(0));
}

#define SSD_CHUNKS(T, N) \
    KERNEL_BY(N > 128 ? 2 : 3, ssd_chunks_##T##_##N, SsdParams, CHUNK_THREADS) { ssd_chunks<T, N>(p); }
SSD_CHUNKS(bf16, 64)
SSD_CHUNKS(bf16, 128)
SSD_CHUNKS(bf16, 256)
SSD_CHUNKS(f16, 64)
SSD_CHUNKS(f16, 128)
SSD_CHUNKS(f16, 256)
