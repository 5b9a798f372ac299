#include "block.h"
#define EMU_SWITCH_HERE
#include "switch.h"
#include "watch.h"
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <sys/mman.h>
#include <thread>

// What kernels see as `extern __shared__ unsigned char smem[]`. 1,024: the alignment that swizzled tiles ask for.
alignas(1024) __thread unsigned char smem[emu::MAX_SHARED];

namespace emu {

thread_local Block* block;
thread_local Thread* self;

namespace {

// A little more than a power of two: equal addresses on all stacks would share the cache's sets.
constexpr size_t STACK = 64 * 1024 + 2368;
constexpr uint64_t POLLS_WITHOUT_PROGRESS = 100'000;

const Kernel* kernels;

bool backward() { return block->schedule.order == Order::Backward; }

// Takes the thread that goes on out of the ready ones; `warp` is the one that is ahead.
int choose(int warp) {
    auto& ready = block->ready;
    auto at = ready.begin();
    if (block->schedule.order == Order::WarpAhead) {
        auto same = std::find_if(ready.rbegin(), ready.rend(), [&](int r) { return r / WARP == warp; });
        at = same == ready.rend() ? ready.end() - 1 : same.base() - 1;
    }
    int rank = *at;
    ready.erase(at);
    return rank;
}

std::string stuck() {
    std::string all;
    int shown = 0;
    for (int i = 0; i < block->threads && shown < 8; i++) {
        const Thread& t = block->thread[i];
        if (t.done) continue;
        all += (shown++ ? ", " : "") + std::to_string(i) + " at " + t.waits_at;
    }
    return all;
}

// Leaves this thread for the next that can go on. Who polls waits for another warp, too.
void hand_over(bool polls = false) {
    Thread* from = self;
    if (block->ready.empty() && block->live > 0) fail("deadlock: nothing can go on; threads wait: " + stuck());
    if (block->live == 0) {
        self = nullptr;
        emu_switch(&from->stack_pointer, block->main_stack_pointer);
        return;
    }
    Thread* to = &block->thread[choose(polls ? -1 : from->rank / WARP)];
    if (to == from) return;
    self = to;
    emu_switch(&from->stack_pointer, to->stack_pointer);
}

// Lets those go on who wait. The running thread, where it is the last of them, goes on at once under Forward and WarpAhead, and under Backward in its turn.
void release(std::vector<int>& waiting, bool and_me) {
    if (and_me && !backward()) waiting.pop_back();
    if (backward()) std::reverse(waiting.begin(), waiting.end());
    block->ready.insert(block->ready.end(), waiting.begin(), waiting.end());
    waiting.clear();
    block->progress++;
    if (and_me && backward()) hand_over();
}

bool barrier_full(Barrier& b, int count) { return b.arrived >= (count ? count : block->live); }

void complete(Barrier& b, bool and_me) {
    watch::meet(&b, b.waiting);
    b.arrived = 0;
    release(b.waiting, and_me);
}

} // namespace

void fail(const std::string& what) {
    Block* b = block;
    if (b->fault.empty()) {
        char where[96];
        snprintf(where, sizeof where, " (block %u, %u, %u, thread %d)", b->index.x, b->index.y, b->index.z, self ? self->rank : -1);
        b->fault = what + where;
    }
    // The block's stacks are left as they are: kernels own nothing that must be destroyed.
    void* unused;
    self = nullptr;
    emu_switch(&unused, b->main_stack_pointer);
    __builtin_unreachable();
}

void barrier_sync(int id, int count, const char* what) {
    if (count % WARP) fail(std::string(what) + ": a count of " + std::to_string(count) + " threads is no whole number of warps");
    Barrier& b = block->barrier[id];
    self->waits_at = what;
    watch::arrive(&b);
    b.arrived++;
    b.waiting.push_back(self->rank);
    if (!barrier_full(b, count)) return hand_over();
    complete(b, true);
}

void barrier_arrive(int id, int count, const char* what) {
    if (count == 0 || count % WARP) fail(std::string(what) + ": needs a count of whole warps");
    Barrier& b = block->barrier[id];
    watch::arrive(&b);
    b.arrived++;
    if (barrier_full(b, count)) complete(b, false);
}

void poll(const char* what) {
    thread_local uint64_t seen;
    self->waits_at = what;
    if (seen != block->progress) {
        seen = block->progress;
        block->polls = 0;
    }
    if (++block->polls > POLLS_WITHOUT_PROGRESS) fail("deadlock: polling without end; threads wait: " + stuck());
    // At the front, where the one that ran longest would choose it last.
    block->ready.insert(block->schedule.order == Order::WarpAhead ? block->ready.begin() : block->ready.end(), self->rank);
    hand_over(true);
}

Slots collect(unsigned mask, const char* what, const void* operand, size_t bytes, void (*combine)(Slots), bool orders) {
    Warp& warp = block->warp[self->rank / WARP];
    self->waits_at = what;
    if (!(mask >> self->lane & 1)) fail(std::string(what) + ": the calling lane is not in its mask");
    if (mask & ~warp.live) fail(std::string(what) + ": the mask names lanes that have returned or do not exist");
    auto at = std::find_if(warp.collectives.begin(), warp.collectives.end(), [&](const Collective& c) { return c.mask == mask; });
    if (at == warp.collectives.end()) {
        for (const Collective& c : warp.collectives)
            if (c.arrived && (c.mask & mask)) fail(std::string(what) + ": lanes of one warp meet in " + c.what + " under another mask");
        // Places handed out must stay where they are.
        if (warp.collectives.size() == warp.collectives.capacity()) fail(std::string(what) + ": more masks in one warp than the emulator keeps");
        at = warp.collectives.insert(warp.collectives.end(), Collective{});
        at->mask = mask;
    }
    Collective& c = *at;
    if (c.arrived && strcmp(c.what, what)) fail(std::string("divergence: lanes of one mask meet in ") + c.what + " and " + what);
    c.what = what;
    Slots slots = c.slots[c.round];
    if (bytes) memcpy(slots[self->lane], operand, bytes);
    if (orders) watch::arrive(&c);
    c.waiting.push_back(self->rank);
    if (++c.arrived < __builtin_popcount(mask)) {
        hand_over();
    } else {
        if (combine) combine(slots);
        if (orders) watch::meet(&c, c.waiting);
        c.arrived = 0;
        c.round ^= 1;
        release(c.waiting, true);
    }
    return slots;
}

namespace {

void thread_ends() {
    Thread* me = self;
    if (!me->copies.empty()) fail("a thread returns while its asynchronous copies are in flight");
    if (!me->product_groups.empty() || me->open_products) fail("a thread returns while its warpgroup's products are under way");
    me->done = true;
    block->live--;
    block->progress++;
    block->warp[me->rank / WARP].live &= ~(1u << me->lane);
    // Those that wait for all threads wait for one less.
    Barrier& all = block->barrier[0];
    if (!all.waiting.empty() && all.arrived >= block->live) complete(all, false);
    hand_over();
    __builtin_unreachable();
}

struct Stacks {
    char* base;
    Stacks() {
        void* got = mmap(nullptr, STACK * MAX_THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        base = got == MAP_FAILED ? nullptr : static_cast<char*>(got);
    }
    ~Stacks() {
        if (base) munmap(base, STACK * MAX_THREADS);
    }
};

void run_block(Block& b, const Stacks& stacks, uint3 index) {
    b.index = index;
    b.live = b.threads;
    b.progress = b.polls = 0;
    for (Barrier& x : b.barrier) x = {};
    b.mbarriers.clear();
    for (int w = 0; w * WARP < b.threads; w++) {
        int lanes = std::min(WARP, b.threads - w * WARP);
        b.warp[w].live = lanes == WARP ? ~0u : (1u << lanes) - 1;
        b.warp[w].collectives.clear();
        b.warp[w].collectives.reserve(8);
    }
    b.ready.clear();
    for (int i = 0; i < b.threads; i++) {
        Thread& t = b.thread[i];
        unsigned r = i;
        t.index = {r % b.size.x, r / b.size.x % b.size.y, r / (b.size.x * b.size.y)};
        t.rank = i;
        t.lane = i % WARP;
        t.done = false;
        t.waits_at = "its beginning";
        t.copies.clear();
        t.copy_groups.clear();
        t.products.clear();
        t.product_groups.clear();
        t.open_products = 0;
        t.registers_fenced = false;
        t.stack_pointer = new_stack(reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(stacks.base + STACK * (i + 1)) & ~uintptr_t(63)));
        b.ready.push_back(i);
    }
    if (b.schedule.order == Order::Backward) std::reverse(b.ready.begin(), b.ready.end());
    // Nothing of an earlier block may be taken for this one's.
    memset(smem, 0xff, b.shared);
    watch::block_begins(stacks.base, STACK * MAX_THREADS);
    self = &b.thread[choose(0)];
    emu_switch(&b.main_stack_pointer, self->stack_pointer);
    watch::block_ends();
}

} // namespace

Kernel::Kernel(const char* name, void (*entry)(const void*), size_t params_size, int max_threads)
    : name(name), entry(entry), params_size(params_size), max_threads(max_threads), next(kernels) {
    kernels = this;
}

namespace {

std::string refused(const Kernel* k, const char* name, size_t params_size, int threads, size_t shared) {
    if (!k) return std::string("there is no kernel ") + name;
    if (k->params_size != params_size)
        return std::string(name) + " takes parameters of " + std::to_string(k->params_size) + " bytes, not " + std::to_string(params_size);
    if (threads != k->max_threads) return std::string(name) + " runs in blocks of " + std::to_string(k->max_threads) + " threads, not " + std::to_string(threads);
    if (shared > MAX_SHARED) return std::string(name) + ": " + std::to_string(shared) + " bytes of shared memory are more than a block may have";
    return {};
}

} // namespace
} // namespace emu

extern "C" void emu_fiber() {
    emu::block->entry(emu::block->params);
    emu::thread_ends();
}

// Runs `blocks` blocks of a grid from `first` on, in each dimension. Returns 0, or 1 with a reason of at most `reason_size` bytes.
extern "C" int emu_launch(const char* name, const unsigned* grid, const unsigned* first, const unsigned* blocks, const unsigned* size, size_t shared, const void* params, size_t params_size, int order,
                          int landing, int watched, int os_threads, char* reason, size_t reason_size) {
    using namespace emu;
    const Kernel* kernel = kernels;
    while (kernel && strcmp(kernel->name, name)) kernel = kernel->next;
    int threads = size[0] * size[1] * size[2];
    std::string why = refused(kernel, name, params_size, threads, shared);
    if (why.empty()) {
        uint64_t total = uint64_t(blocks[0]) * blocks[1] * blocks[2];
        std::atomic<uint64_t> next{0};
        std::mutex first_fault;
        auto work = [&] {
            // Kept from launch to launch: many are over before fresh stacks would be mapped.
            static thread_local Stacks stacks;
            static thread_local auto kept = std::make_unique<Block>();
            Block* b = kept.get();
            b->fault.clear();
            b->size = {size[0], size[1], size[2]};
            b->grid = {grid[0], grid[1], grid[2]};
            b->threads = threads;
            b->shared = shared;
            b->schedule = {Order(order), Landing(landing), watched != 0};
            b->entry = kernel->entry;
            b->params = params;
            block = b;
            if (!stacks.base) b->fault = "no memory for the threads' stacks";
            for (uint64_t i; b->fault.empty() && (i = next++) < total;)
                run_block(*b, stacks,
                          {first[0] + unsigned(i % blocks[0]), first[1] + unsigned(i / blocks[0] % blocks[1]), first[2] + unsigned(i / blocks[0] / blocks[1])});
            block = nullptr;
            std::lock_guard<std::mutex> lock(first_fault);
            if (!b->fault.empty() && why.empty()) {
                why = std::string(name) + ": " + b->fault;
                next = total;
            }
        };
        std::vector<std::thread> others;
        for (int i = 1; i < os_threads && uint64_t(i) < total; i++) others.emplace_back(work);
        work();
        for (auto& t : others) t.join();
    }
    snprintf(reason, reason_size, "%s", why.c_str());
    return why.empty() ? 0 : 1;
}

// Bytes that are zeros and take no memory before they are touched; null where there is no room for their addresses.
extern "C" void* emu_map(size_t size) {
    void* got = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? nullptr : got;
}
extern "C" void emu_unmap(void* p, size_t size) { munmap(p, size); }
