#include "ptx.h"
#include "block.h"
#include "watch.h"
#include <cstring>

extern __thread unsigned char smem[];

namespace emu {

namespace {

void aligned(const void* p, size_t to, const char* what) {
    if (reinterpret_cast<uintptr_t>(p) % to) fail(std::string(what) + ": an address is not aligned to " + std::to_string(to) + " bytes");
}

void shared(const void* p, size_t size, const char* what) {
    const unsigned char* at = static_cast<const unsigned char*>(p);
    if (at < smem || at + size > smem + block->shared) fail(std::string(what) + ": an address lies outside the block's shared memory");
}

void land(const Copy& c) {
    memcpy(c.to, c.from, c.valid);
    memset(static_cast<char*>(c.to) + c.valid, 0, c.size - c.valid);
}

} // namespace

uint32_t shared_address(const void* p) {
    shared(p, 0, "an operand");
    return uint32_t(static_cast<const unsigned char*>(p) - smem);
}

void copy(void* to, const void* from, int size, int valid) {
    aligned(to, size, "cp.async");
    aligned(from, size, "cp.async");
    shared(to, size, "cp.async");
    if (valid < 0 || valid > size) fail("cp.async: reads as many bytes as it writes, or fewer");
    watch::read(from, valid);
    watch::copy_begins(to, size);
    Copy copy{to, from, size, valid};
    if (block->schedule.landing == Landing::AtOnce) land(copy);
    self->copies.push_back(copy);
}

void copies_commit() {
    int before = 0;
    for (int n : self->copy_groups) before += n;
    self->copy_groups.push_back(int(self->copies.size()) - before);
}

void copies_wait(int pending) {
    int groups = int(self->copy_groups.size()) - pending;
    for (int g = 0; g < groups; g++) {
        int n = self->copy_groups.front();
        self->copy_groups.erase(self->copy_groups.begin());
        for (int i = 0; i < n; i++) {
            const Copy& copy = self->copies[i];
            if (block->schedule.landing == Landing::Late) land(copy);
            watch::copy_landed(copy.to, copy.size);
        }
        self->copies.erase(self->copies.begin(), self->copies.begin() + n);
    }
    block->progress++;
}

void load_matrices(uint32_t* r, const void* row, bool transposed) {
    const char* what = transposed ? "ldmatrix.x4.trans" : "ldmatrix.x4";
    aligned(row, 16, what);
    shared(row, 16, what);
    watch::read(row, 16);
    struct Row {
        uint16_t x[8];
    } mine;
    // Taken when the lane arrives: what others write between then and the last lane's arrival is a race.
    memcpy(&mine, row, sizeof mine);
    Slots slots = collect(~0u, what, &mine, sizeof mine);
    for (int m = 0; m < 4; m++)
        for (int h = 0; h < 2; h++) {
            int i = self->lane / 4, j = self->lane % 4 * 2 + h;
            if (transposed) std::swap(i, j);
            uint32_t value = reinterpret_cast<const Row*>(slots[m * 8 + i])->x[j];
            r[m] = h == 0 ? value : r[m] | value << 16;
        }
}

void multiply_add(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, float (*widen)(uint16_t)) {
    struct Operands {
        float c[4];
        uint32_t a[4], b[2];
        float (*widen)(uint16_t);
    } mine{{c[0], c[1], c[2], c[3]}, {a[0], a[1], a[2], a[3]}, {b0, b1}, widen};
    static_assert(sizeof mine <= sizeof(uint64_t[8]), "fits a lane's place");
    Slots slots = collect(~0u, "mma.m16n8k16", &mine, sizeof mine, [](Slots slots) {
        float A[16][16], B[16][8], C[16][8];
        auto of = [&](int lane) { return reinterpret_cast<Operands*>(slots[lane]); };
        auto half = [&](uint32_t pair, int h) { return of(0)->widen(uint16_t(pair >> 16 * h)); };
        for (int lane = 0; lane < WARP; lane++) {
            Operands* o = of(lane);
            int i = lane / 4, j = lane % 4 * 2;
            for (int h = 0; h < 2; h++) {
                for (int q = 0; q < 4; q++) A[i + q % 2 * 8][j + h + q / 2 * 8] = half(o->a[q], h);
                for (int q = 0; q < 2; q++) B[j + h + q * 8][i] = half(o->b[q], h);
            }
            for (int q = 0; q < 4; q++) C[i + q / 2 * 8][j + q % 2] = o->c[q];
        }
        for (int m = 0; m < 16; m++)
            for (int k = 0; k < 16; k++)
                for (int n = 0; n < 8; n++) C[m][n] += A[m][k] * B[k][n];
        for (int lane = 0; lane < WARP; lane++)
            for (int q = 0; q < 4; q++) of(lane)->c[q] = C[lane / 4 + q / 2 * 8][lane % 4 * 2 + q % 2];
    });
    memcpy(c, slots[self->lane], 4 * sizeof(float));
}

float from_bf16(uint16_t bits) { return __bfloat162float({bits}); }

float off_by(float y, float relative) {
    // Exact at powers of two, as the device is: e^0 must be 1.
    uint32_t bits = emu_bits<uint32_t>(y);
    if (fabsf(y) < 0x1p-126f) return 0.0f;
    if (!(bits & 0x7fffff)) return y;
    float share = float(bits * 2654435761u >> 8) * 0x1p-23f - 1.0f; // in [−1, 1)
    return y + y * share * relative;
}

float from_f16(uint16_t bits) { return emu_bits<_Float16>(bits); }

} // namespace emu
