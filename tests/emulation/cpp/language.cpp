// The parts of the language that wait for other lanes.
#include "cuda.h"
#include <algorithm>

namespace emu {

uint3 thread_index() { return self->index; }
uint3 block_index() { return block->index; }
dim3 block_size() { return block->size; }
dim3 grid_size() { return block->grid; }

int lane_of_width(int width, int how, int by) {
    int lane = self->lane, first = lane & ~(width - 1), last = first + width - 1;
    switch (how) {
    case FROM: return first | (by & (width - 1));
    // As the device has it: a lane below the segment may be read, one above it gives the own value.
    case XOR: return (lane ^ by) > last ? lane : lane ^ by;
    case DOWN: return lane + by > last ? lane : lane + by;
    default: return lane - by < first ? lane : lane - by;
    }
}

void shuffle(unsigned mask, void* value, size_t size, int from, const char* what) {
    if (!(mask >> from & 1)) fail(std::string(what) + ": reads lane " + std::to_string(from) + ", which is not in its mask");
    Slots slots = collect(mask, what, value, size);
    memcpy(value, slots[from], size);
}

unsigned ballot(unsigned mask, bool vote, const char* what) {
    uint64_t mine = vote;
    Slots slots = collect(mask, what, &mine, sizeof mine);
    unsigned votes = 0;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        votes |= unsigned(slots[lane][0] & 1) << lane;
    }
    return votes;
}

void warp_sync(unsigned mask) { collect(mask, "__syncwarp", nullptr, 0, nullptr, true); }

} // namespace emu
