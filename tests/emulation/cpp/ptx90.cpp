// Barriers with bytes, copies of boxes and products of a warpgroup. Where the schedule says Late, a copy lands when somebody waits for its barrier and nothing else is missing, and a product is
// computed when it is waited for.
#include "block.h"
#include "watch.h"
#include <algorithm>
#include <cstring>

extern __thread unsigned char smem[];

namespace emu {

namespace {

// What tests/emulation/src/lib.rs writes into a TensorMap.
struct Map {
    uint64_t magic;
    const unsigned char* address;
    uint64_t columns, rows, planes;
    uint64_t stride, plane_stride; // bytes from one to the next
    uint64_t box_columns, box_rows;
    size_t box_bytes() const { return box_columns * box_rows * 2; }
};
constexpr uint64_t MAP_MAGIC = 0x686f707065720001;

bool late() { return block->schedule.landing == Landing::Late; }

// The swizzle of rows of 128 bytes: of a byte's place in shared memory the bits 4 to 6 are turned by the bits 7 to 9; and that of rows of 64: 4 and 5 by 7 and 8.
size_t turned(size_t at, size_t row_bytes) { return at ^ (at >> 7 & (row_bytes / 16 - 1)) << 4; }

const Map& map_of(const BoxCopy& copy) { return *reinterpret_cast<const Map*>(copy.map); }

size_t offset_of(const void* p, size_t size, const char* what) {
    size_t at = static_cast<const unsigned char*>(p) - smem;
    if (at > block->shared || at + size > block->shared) fail(std::string(what) + ": an address lies outside the block's shared memory");
    return at;
}

MBarrier& barrier_at(const void* p, const char* what) {
    auto found = block->mbarriers.find(p);
    if (found == block->mbarriers.end()) fail(std::string(what) + ": there is no barrier at this address");
    // Who comes to it must know that it was made.
    watch::read(p, 8);
    return found->second;
}

void land(MBarrier& b, BoxCopy& copy) {
    const Map& map = map_of(copy);
    copy.landed = true;
    b.bytes -= int64_t(map.box_bytes());
    size_t to = copy.to - smem, row_bytes = map.box_columns * 2;
    for (size_t row = 0; row < map.box_rows; row++)
        for (size_t column = 0; column < map.box_columns; column++) {
            uint16_t value = 0;
            if (copy.z < map.planes && copy.y + row < map.rows && copy.x + column < map.columns)
                memcpy(&value, map.address + copy.z * map.plane_stride + (copy.y + row) * map.stride + (copy.x + column) * 2, 2);
            memcpy(smem + turned(to + row * row_bytes + column * 2, row_bytes), &value, 2);
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
    watch::write(const_cast<void*>(p), 8);
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
    for (const BoxCopy& copy : b.landed) watch::copy_landed(copy.to, map_of(copy).box_bytes(), true);
    b.landed.clear();
    // Who waits later learns of it here.
    watch::arrive(&b);
}

void copy_box(void* to, const uint64_t* words, uint32_t x, uint32_t y, uint32_t z, const void* barrier) {
    const char* what = "cp.async.bulk.tensor";
    const Map& map = *reinterpret_cast<const Map*>(words);
    if (map.magic != MAP_MAGIC) fail(std::string(what) + ": what it is given is no map of a tensor");
    size_t eight_rows = 8 * map.box_columns * 2;
    if (offset_of(to, map.box_bytes(), what) % eight_rows) fail(std::string(what) + ": an address is not aligned to " + std::to_string(eight_rows) + " bytes");
    // The device's coordinates have a sign.
    if (x > INT32_MAX || y > INT32_MAX || z > INT32_MAX) fail(std::string(what) + ": a coordinate is beyond 31 bits");
    MBarrier& b = barrier_at(barrier, what);
    if (z < map.planes && y < map.rows && x < map.columns) {
        size_t rows = std::min<uint64_t>(map.box_rows, map.rows - y), bytes = std::min<uint64_t>(map.box_columns, map.columns - x) * 2;
        for (size_t row = 0; row < rows; row++) watch::read(map.address + z * map.plane_stride + (y + row) * map.stride + x * 2, bytes);
    }
    watch::copy_begins(to, map.box_bytes());
    b.copies.push_back({static_cast<unsigned char*>(to), words, x, y, z, false});
    if (late()) return;
    land(b, b.copies.back());
    settle(b);
}

void converge(const char* what) { collect(~0u, what, nullptr, 0); }

void products_see_writes() { watch::fence(); }

namespace {

// A matrix in shared memory, from the bits that the device would read (PTX ISA, "Matrix Descriptor Format" and "Canonical Layouts").
class Operand {
public:
    Operand(uint64_t bits, bool across) : across(across) {
        begin = (bits & 0x3fff) << 4;
        leading = (bits >> 16 & 0x3fff) << 4;
        stride = (bits >> 32 & 0x3fff) << 4;
        size_t swizzle = bits >> 62;
        if (swizzle != 1 && swizzle != 2) fail("wgmma: the emulator knows the swizzles of 128 and of 64 bytes");
        if (bits >> 49 & 7) fail("wgmma: the emulator knows no base offset");
        row_bytes = swizzle == 1 ? 128 : 64;
        // A pattern begins at its multiple, but for where the operand begins within its first row.
        if (begin % (8 * row_bytes) >= row_bytes) fail("wgmma: an operand does not begin in the first of eight rows");
    }
    // Where the 16 bytes lie that hold eight numbers along a row: of row `i` of the operand (in memory), from its `eighth` eighth on.
    size_t at(size_t i, size_t eighth) const {
        size_t in_row = row_bytes / 16, box = eighth / in_row;
        size_t place = turned(begin + box * leading + i / 8 * stride + i % 8 * row_bytes + eighth % in_row * 16, row_bytes);
        if (place + 16 > block->shared) fail("wgmma: an operand lies outside the block's shared memory");
        return place;
    }
    // Into `to`, as they lie: n rows of 16 numbers from row `first` on; across, 16 rows of n.
    void read(float* to, size_t first, size_t n, float (*widen)(uint16_t)) const {
        size_t rows = across ? 16 : n, eighths = across ? n / 8 : 2;
        for (size_t i = 0; i < rows; i++)
            for (size_t e = 0; e < eighths; e++) {
                size_t place = at(first + i, e);
                watch::product_reads(smem + place, 16);
                uint16_t bits[8];
                memcpy(bits, smem + place, sizeof bits);
                for (size_t k = 0; k < 8; k++) to[(i * eighths + e) * 8 + k] = widen(bits[k]);
            }
    }

private:
    size_t begin, leading, stride, row_bytes;
    bool across;
};

// A product's part of one warp, for which lane l has products[l].
void compute(const Product* const (&products)[WARP]) {
    static thread_local float a[16 * 16], b[256 * 16], b_across[16 * 256], c[16 * 256];
    const Product& p = *products[0];
    int warp = self->rank / WARP;
    // Lanes come here together; one of them says what was read, the one by which kernels say that their warp is done.
    Thread* caller = self;
    self = &block->thread[warp * WARP];
    if (p.fragment) {
        for (int lane = 0; lane < WARP; lane++)
            for (int q = 0; q < 4; q++)
                for (int h = 0; h < 2; h++)
                    a[(lane / 4 + q % 2 * 8) * 16 + lane % 4 * 2 + h + q / 2 * 8] = p.widen(uint16_t(products[lane]->fragment[q] >> 16 * h));
    } else {
        Operand(p.a, false).read(a, 16 * (warp % 4), 16, p.widen);
    }
    Operand(p.b, p.across).read(p.across ? b_across : b, 0, p.n, p.widen);
    self = caller;
    if (!p.across)
        for (int n = 0; n < p.n; n++)
            for (int k = 0; k < 16; k++) b_across[k * p.n + n] = b[n * 16 + k];
    auto number = [&](int lane, int q) -> float& { return c[(lane / 4 + q / 2 % 2 * 8) * p.n + q / 4 * 8 + lane % 4 * 2 + q % 2]; };
    for (int lane = 0; lane < WARP; lane++)
        for (int q = 0; q < p.n / 2; q++) number(lane, q) = p.add ? products[lane]->c[q] : 0.0f;
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < p.n; n += 8)
            for (int k = 0; k < 16; k++)
                for (int j = 0; j < 8; j++) c[m * p.n + n + j] += a[m * 16 + k] * b_across[k * p.n + n + j];
    for (int lane = 0; lane < WARP; lane++)
        for (int q = 0; q < p.n / 2; q++) products[lane]->c[q] = number(lane, q);
}

// The oldest product of a warp whose lanes are all here.
void compute_oldest() {
    const Product* products[WARP];
    Thread* lanes = &block->thread[self->rank / WARP * WARP];
    for (int lane = 0; lane < WARP; lane++) {
        if (lanes[lane].products.empty() || lanes[lane].products[0].n != lanes[0].products[0].n) fail("wgmma: lanes of one warp have other products under way");
        products[lane] = &lanes[lane].products[0];
    }
    compute(products);
    for (int lane = 0; lane < WARP; lane++) lanes[lane].products.erase(lanes[lane].products.begin());
}

} // namespace

void products_fence() {
    converge("wgmma.fence");
    self->registers_fenced = true;
}

void product(float* c, int n, uint64_t a, const uint32_t* fragment, uint64_t b, bool across, bool add, float (*widen)(uint16_t)) {
    if (!self->registers_fenced) fail("wgmma: registers were not fenced since the last wait");
    self->products.push_back({c, n, a, fragment, b, across, add, widen});
    self->open_products++;
    collect(~0u, "wgmma", nullptr, 0, [](Slots) {
        if (!late()) compute_oldest();
    });
}

void products_commit() {
    self->product_groups.push_back(self->open_products);
    self->open_products = 0;
}

void products_wait(int pending) {
    self->registers_fenced = false;
    int groups = std::max(0, int(self->product_groups.size()) - pending), mine = 0;
    for (int g = 0; g < groups; g++) mine += self->product_groups[g];
    self->product_groups.erase(self->product_groups.begin(), self->product_groups.begin() + groups);
    // All lanes of a warp wait for as many. Registers are read and written while all of them are here.
    collect(~0u, "wgmma.wait_group", &mine, sizeof mine, [](Slots slots) {
        int products;
        memcpy(&products, slots[self->lane], sizeof products);
        for (int i = 0; late() && i < products; i++) compute_oldest();
    });
    block->progress++;
}

} // namespace emu
