#include "watch.h"
#include "block.h"
#include <algorithm>
#include <array>
#include <cstring>
#include <link.h>
#include <map>
#include <mutex>
#include <shared_mutex>

extern __thread unsigned char smem[];

namespace emu::watch {

namespace {

// A thread's time: one more than the arrivals behind it. An access has the time at which its thread makes it.
using Time = uint32_t;
using Clock = std::vector<Time>; // [threads]: what each thread did up to this time is known

constexpr uint16_t NOBODY = 0xffff, COPYING = 0xfffe;

struct Range {
    const char* begin;
    const char* end;
    bool holds(const char* p, size_t size) const { return p >= begin && size <= size_t(end - begin) && p <= end - size; }
};

// The last write of a byte.
struct Write {
    uint16_t thread;
    bool fenced; // products see it, whatever the thread fences
    Time time;
};
// The reads of a byte by a warp since its last write, each lane's latest. Lanes mostly read at one time, which is then kept once.
struct Reads {
    uint32_t lanes;
    uint32_t time; // or APART + a place among State::apart
};
constexpr uint32_t APART = 1u << 31;

struct State {
    bool on = false;
    int threads, warps;
    std::vector<Clock> clock;             // [threads]; its own time, too, is in a thread's clock
    std::map<const void*, Clock> brought; // to a meeting that is not over
    std::vector<Clock> fences;            // after which of its times a thread fenced what it wrote, ascending
    std::vector<Write> writes;            // [shared]
    std::vector<Reads> reads;             // [shared · warps]
    std::vector<std::array<Time, WARP>> apart;
    Range stacks;
    Range last; // the allocation that was hit last
};

thread_local State state;

std::shared_mutex allocations_lock;
std::map<const char*, size_t> allocations;

// The program's own constants.
const std::vector<Range>& image() {
    static const std::vector<Range> ranges = [] {
        std::vector<Range> found;
        dl_iterate_phdr(
            [](dl_phdr_info* info, size_t, void* out) {
                for (int i = 0; i < info->dlpi_phnum; i++)
                    if (info->dlpi_phdr[i].p_type == PT_LOAD) {
                        const char* begin = reinterpret_cast<const char*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
                        static_cast<std::vector<Range>*>(out)->push_back({begin, begin + info->dlpi_phdr[i].p_memsz});
                    }
                return 0;
            },
            &found);
        return found;
    }();
    return ranges;
}

void merge(Clock& into, const Clock& from) {
    if (into.empty()) into.resize(from.size());
    for (size_t i = 0; i < from.size(); i++) into[i] = std::max(into[i], from[i]);
}

std::string place(const char* p) { return "byte " + std::to_string(p - reinterpret_cast<char*>(smem)) + " of shared memory"; }

// The running thread reads at `time`.
void note(Reads& reads, Time time) {
    if (!reads.lanes) reads.time = time;
    if (!(reads.time & APART) && reads.time != time) {
        std::array<Time, WARP> each;
        each.fill(reads.time);
        state.apart.push_back(each);
        reads.time = APART + uint32_t(state.apart.size() - 1);
    }
    if (reads.time & APART) state.apart[reads.time - APART][self->lane] = time;
    reads.lanes |= 1u << self->lane;
}

bool knows(const Clock& clock, int thread, Time time) { return thread == self->rank || clock[thread] >= time; }

void shared_access(const char* p, size_t size, bool writes) {
    size_t first = p - reinterpret_cast<char*>(smem);
    if (first + size > block->shared)
        fail(place(p) + " lies outside the " + std::to_string(block->shared) + " that the block was given");
    const Clock& clock = state.clock[self->rank];
    int warp = self->rank / WARP;
    for (size_t i = first; i < first + size; i++) {
        Write& w = state.writes[i];
        const char* at = reinterpret_cast<char*>(smem) + i;
        if (w.thread == COPYING) fail(place(at) + " is touched before the copy into it was waited for");
        if (w.thread == NOBODY && !writes) fail(place(at) + " is read, but nothing wrote it");
        if (w.thread != NOBODY && !knows(clock, w.thread, w.time))
            fail("race: " + place(at) + (writes ? " is written" : " is read") + ", and thread " + std::to_string(w.thread) + " wrote it without a barrier between");
        Reads* reads = &state.reads[i * state.warps];
        if (!writes) {
            note(reads[warp], clock[self->rank]);
            continue;
        }
        for (int v = 0; v < state.warps; v++)
            for (uint32_t lanes = reads[v].lanes; lanes; lanes &= lanes - 1) {
                int lane = __builtin_ctz(lanes), reader = v * WARP + lane;
                Time time = reads[v].time & APART ? state.apart[reads[v].time - APART][lane] : reads[v].time;
                if (!knows(clock, reader, time))
                    fail("race: " + place(at) + " is written, and thread " + std::to_string(reader) + " read it without a barrier between");
            }
        std::fill(reads, reads + state.warps, Reads{});
        w = {uint16_t(self->rank), false, clock[self->rank]};
    }
}

bool in_shared(const char* p) {
    const char* base = reinterpret_cast<char*>(smem);
    return p >= base && p < base + MAX_SHARED;
}

// The last allocation that begins at or before p.
Range allocation_at(const char* p) {
    std::shared_lock<std::shared_mutex> lock(allocations_lock);
    auto after = allocations.upper_bound(p);
    if (after == allocations.begin()) return {nullptr, nullptr};
    auto [begin, size] = *std::prev(after);
    return {begin, begin + size};
}

void access(const void* address, size_t size, size_t alignment, bool writes) {
    if (!state.on || !self) return;
    const char* p = static_cast<const char*>(address);
    if (reinterpret_cast<uintptr_t>(p) % alignment) fail("an access of " + std::to_string(alignment) + " bytes is not aligned to them");
    if (in_shared(p)) return shared_access(p, size, writes);
    if (state.stacks.holds(p, size) || state.last.holds(p, size)) return;
    // Parameters lie on the launching thread's stack.
    const char* params = static_cast<const char*>(block->params);
    if (p >= params && p < params + 4096) return;
    // A failure abandons this stack, so that nothing on it may hold the lock.
    Range near = allocation_at(p);
    if (near.holds(p, size)) {
        state.last = near;
        return;
    }
    if (near.begin && p <= near.end + 4096)
        fail(std::string(writes ? "writes " : "reads ") + std::to_string(p - near.begin) + " bytes into an allocation of " + std::to_string(near.end - near.begin));
    for (const Range& r : image())
        if (r.holds(p, size)) return;
    fail(std::string(writes ? "writes" : "reads") + " where nothing was allocated");
}

} // namespace

void block_begins(const char* stacks, size_t stacks_size) {
    state.on = block->schedule.watched;
    if (!state.on) return;
    state.threads = block->threads;
    state.warps = (block->threads + WARP - 1) / WARP;
    state.clock.assign(state.threads, Clock(state.threads, 0));
    for (int i = 0; i < state.threads; i++) state.clock[i][i] = 1;
    state.apart.clear();
    state.brought.clear();
    state.fences.assign(state.threads, {});
    state.writes.assign(block->shared, {NOBODY, false, 0});
    state.reads.assign(block->shared * state.warps, {});
    state.stacks = {stacks, stacks + stacks_size};
    state.last = {nullptr, nullptr};
}

void block_ends() { state.on = false; }

void arrive(const void* place) {
    if (!state.on) return;
    Clock& c = state.clock[self->rank];
    merge(state.brought[place], c);
    c[self->rank]++;
}

void meet(const void* place, const std::vector<int>& waiting) {
    if (!state.on) return;
    Clock all = std::move(state.brought[place]);
    state.brought.erase(place);
    for (int rank : waiting) merge(state.clock[rank], all);
}

void learn(const void* place) {
    if (!state.on) return;
    auto brought = state.brought.find(place);
    if (brought != state.brought.end()) merge(state.clock[self->rank], brought->second);
}

void read(const void* p, size_t size) { access(p, size, 1, false); }
void write(void* p, size_t size) { access(p, size, 1, true); }

void copy_begins(void* p, size_t size) {
    if (!state.on) return;
    access(p, size, 1, true);
    size_t first = static_cast<char*>(p) - reinterpret_cast<char*>(smem);
    for (size_t i = first; i < first + size; i++) state.writes[i] = {COPYING, false, 0};
}

void copy_landed(void* p, size_t size, bool fenced) {
    if (!state.on) return;
    size_t first = static_cast<char*>(p) - reinterpret_cast<char*>(smem);
    for (size_t i = first; i < first + size; i++) state.writes[i] = {uint16_t(self->rank), fenced, state.clock[self->rank][self->rank]};
}

void fence() {
    if (!state.on) return;
    // What comes after it has another time.
    state.fences[self->rank].push_back(state.clock[self->rank][self->rank]++);
}

void product_reads(const void* p, size_t size) {
    if (!state.on) return;
    access(p, size, 1, false);
    size_t first = static_cast<const char*>(p) - reinterpret_cast<char*>(smem);
    for (size_t i = first; i < first + size; i++) {
        const Write& w = state.writes[i];
        if (w.fenced) continue;
        // The first fence after the write, of which who reads must know.
        const Clock& fences = state.fences[w.thread];
        auto fence = std::lower_bound(fences.begin(), fences.end(), w.time);
        if (fence == fences.end() || *fence >= state.clock[self->rank][w.thread])
            fail(place(static_cast<const char*>(p) + (i - first)) + " is multiplied, but thread " + std::to_string(w.thread) + " did not fence what it wrote there");
    }
}

} // namespace emu::watch

extern "C" {

void emu_allocated(const void* p, size_t size) {
    std::unique_lock<std::shared_mutex> lock(emu::watch::allocations_lock);
    emu::watch::allocations[static_cast<const char*>(p)] = size;
}

void emu_freed(const void* p) {
    std::unique_lock<std::shared_mutex> lock(emu::watch::allocations_lock);
    emu::watch::allocations.erase(static_cast<const char*>(p));
}

// What -fsanitize=thread calls.
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void* p, size_t n) { emu::watch::access(p, n, 1, false); }
void __tsan_write_range(void* p, size_t n) { emu::watch::access(p, n, 1, true); }
#define EMU_ACCESS(N)                                                                      \
    void __tsan_read##N(void* p) { emu::watch::access(p, N, N, false); }                   \
    void __tsan_write##N(void* p) { emu::watch::access(p, N, N, true); }                   \
    void __tsan_volatile_read##N(void* p) { emu::watch::access(p, N, N, false); }          \
    void __tsan_volatile_write##N(void* p) { emu::watch::access(p, N, N, true); }          \
    void __tsan_unaligned_read##N(void* p) { emu::watch::access(p, N, N, false); }         \
    void __tsan_unaligned_write##N(void* p) { emu::watch::access(p, N, N, true); }         \
    void __tsan_unaligned_volatile_read##N(void* p) { emu::watch::access(p, N, N, false); } \
    void __tsan_unaligned_volatile_write##N(void* p) { emu::watch::access(p, N, N, true); }
EMU_ACCESS(1)
EMU_ACCESS(2)
EMU_ACCESS(4)
EMU_ACCESS(8)
EMU_ACCESS(16)
}
