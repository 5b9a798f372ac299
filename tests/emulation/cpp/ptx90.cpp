// Barriers with bytes, copies of boxes and products of a warpgroup. Where the schedule says Late, a copy lands when somebody waits for its barrier and nothing else is missing, and a product is
// computed when it is waited for.
#include "block.h"
#include "watch.h"
#include <cstring>

extern __thread unsigned char smem[];

namespace emu {

namespace {

constexpr size_t BOX_COLUMNS = 64, BOX_ROWS = 128, BOX_BYTES = BOX_COLUMNS * BOX_ROWS * 2;

// What tests/emulation/src/lib.rs writes into a TensorMap.
struct Map {
    uint64_t magic;
    const unsigned char* address;
    uint64_t columns, rows;
    uint64_t stride; // bytes from one row to the next
};
constexpr uint64_t MAP_MAGIC = 0x686f707065720001;

bool late() { return block->schedule.landing == Landing::Late; }

// The 128-byte swizzle: of a byte's place in shared memory the bits 4 to 6 are turned by the bits 7 to 9.
size_t turned(size_t at) { return at ^ (at >> 7 & 7) << 4; }

size_t offset_of(const void* p, size_t size, const char* what) {
    size_t at = static_cast<const unsigned char*>(p) - smem;
    if (at > block->shared || at + size > block->shared) fail(std::string(what) + ": an address lies outside the block's shared memory");
    return at;
}

MBarrier& barrier_at(const void* p, const char* what) {
    auto found = block->mbarriers.find(p);
    if (found == block->mbarriers.end()) fail(std::string(what) + ": there is no barrier at this address");
    return found->second;
}

void land(MBarrier& b, BoxCopy& copy) {
    copy.landed = true;
    b.bytes -= int64_t(BOX_BYTES);
    const Map& map = *reinterpret_cast<const Map*>(copy.map);
    size_t to = copy.to - smem;
    for (size_t row = 0; row < BOX_ROWS; row++)
        for (size_t column = 0; column < BOX_COLUMNS; column++) {
            uint16_t value = 0;
            if (copy.y + row < map.rows && copy.x + column < map.columns) memcpy(&value, map.address + (copy.y + row) * map.stride + (copy.x + column) * 2, 2);
            memcpy(smem + turned(to + row * 128 + column * 2), &value, 2);
        }
}

// A phase ends where nothing is missing.
void settle(MBarrier& b) {
    if (b.missing > 0 || b.bytes != 0) return;
    b.phase++;
    b.missing = b.count;
    b.landed.insert(b.landed.end(), b.copies.begin(), b.copies.end());
    b.copies.clear();
    block->progress++;
}

} // namespace

void mbarrier_init(const void* p, uint32_t count) {
    if (reinterpret_cast<uintptr_t>(p) % 8) fail("mbarrier.init: an address is not aligned to 8 bytes");
    offset_of(p, 8, "mbarrier.init");
    MBarrier fresh;
    fresh.count = fresh.missing = int(count);
    block->mbarriers[p] = fresh;
}

void mbarrier_arrive(const void* p, uint32_t bytes) {
    MBarrier& b = barrier_at(p, "mbarrier.arrive");
    watch::arrive(&b);
    if (b.missing == 0) fail("mbarrier.arrive: more threads arrive than the barrier counts");
    b.missing--;
    b.bytes += bytes;
    settle(b);
}

void mbarrier_wait(const void* p, uint32_t parity) {
    MBarrier& b = barrier_at(p, "mbarrier.try_wait");
    while ((b.phase & 1) == parity) {
        if (b.missing == 0)
            for (BoxCopy& copy : b.copies)
                if (!copy.landed) land(b, copy);
        settle(b);
        if ((b.phase & 1) == parity) poll("mbarrier.try_wait");
    }
    watch::learn(&b);
    if (b.landed.empty()) return;
    for (const BoxCopy& copy : b.landed) watch::copy_landed(copy.to, BOX_BYTES);
    b.landed.clear();
    // Who waits later learns of it here.
    watch::arrive(&b);
}

void copy_box(void* to, const uint64_t* words, uint32_t x, uint32_t y, const void* barrier) {
    const char* what = "cp.async.bulk.tensor";
    const Map& map = *reinterpret_cast<const Map*>(words);
    if (map.magic != MAP_MAGIC) fail(std::string(what) + ": what it is given is no map of a tensor");
    if (offset_of(to, BOX_BYTES, what) % 1024) fail(std::string(what) + ": an address is not aligned to 1024 bytes");
    MBarrier& b = barrier_at(barrier, what);
    if (y < map.rows && x < map.columns) {
        size_t rows = std::min<uint64_t>(BOX_ROWS, map.rows - y), bytes = std::min<uint64_t>(BOX_COLUMNS, map.columns - x) * 2;
        for (size_t row = 0; row < rows; row++) watch::read(map.address + (y + row) * map.stride + x * 2, bytes);
    }
    watch::copy_begins(to, BOX_BYTES);
    b.copies.push_back({static_cast<unsigned char*>(to), words, x, y, false});
    if (late()) return;
    land(b, b.copies.back());
    settle(b);
}

// As on the device, but with the whole offset from the shared memory's beginning, and what a kernel's own descriptor says must agree.
uint64_t operand_of(const void* tile, int column) {
    size_t at = offset_of(tile, 0, "wgmma");
    if (at % 1024) fail("wgmma: an operand is not aligned to 1024 bytes");
    if (column % 16 || column < 0 || column >= int(BOX_COLUMNS)) fail("wgmma: an operand begins within a row's 64 numbers, at a multiple of 16");
    return at + size_t(column) * 2;
}

void converge(const char* what) { collect(~0u, what, nullptr, 0); }

namespace {

// This lane's numbers of a product.
void compute(const Product& p) {
    auto number = [&](uint64_t operand, size_t row, size_t k) {
        uint16_t bits;
        memcpy(&bits, smem + turned(operand + row * 128 + k * 2), 2);
        return p.widen(bits);
    };
    size_t warp = self->rank / WARP % 4;
    if (self->lane == 0) {
        // The bytes of 8 rows lie together, whatever the swizzle.
        auto seen = [&](uint64_t operand, size_t first, size_t rows) {
            for (size_t row = first; row < first + rows; row++)
                for (size_t eighth = 0; eighth < 2; eighth++) watch::read(smem + turned(operand + row * 128 + eighth * 16), 16);
        };
        seen(p.a, 16 * warp, 16);
        seen(p.b, 0, 256);
    }
    float a[2][16];
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 16; k++) a[i][k] = number(p.a, 16 * warp + self->lane / 4 + 8 * i, k);
    for (int n = 0; n < 32; n++)
        for (int j = 0; j < 2; j++) {
            float b[16];
            for (int k = 0; k < 16; k++) b[k] = number(p.b, 8 * n + 2 * (self->lane % 4) + j, k);
            for (int i = 0; i < 2; i++) {
                float& c = p.c[4 * n + 2 * i + j];
                float sum = p.add ? c : 0.0f;
                for (int k = 0; k < 16; k++) sum += a[i][k] * b[k];
                c = sum;
            }
        }
}

} // namespace

void product(float* c, uint64_t a, uint64_t b, bool add, float (*widen)(uint16_t)) {
    converge("wgmma");
    if (a + 63 * 128 + 32 > block->shared || b + 255 * 128 + 32 > block->shared) fail("wgmma: an operand lies outside the block's shared memory");
    Product p{c, a, b, add, widen};
    if (late()) self->products.push_back(p);
    else compute(p);
    self->open_products++;
}

void products_commit() {
    self->product_groups.push_back(self->open_products);
    self->open_products = 0;
}

void products_wait(int pending) {
    converge("wgmma.wait_group");
    while (int(self->product_groups.size()) > pending) {
        int n = self->product_groups.front();
        self->product_groups.erase(self->product_groups.begin());
        if (!late()) continue;
        for (int i = 0; i < n; i++) compute(self->products[i]);
        self->products.erase(self->products.begin(), self->products.begin() + n);
    }
    block->progress++;
}

} // namespace emu
