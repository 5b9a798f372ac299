// A thread block on one thread of the operating system: its threads are fibers that hand over only where CUDA's would wait, at barriers, warp collectives
// and asynchronous copies. Which of those that could go on does is the schedule's choice; a correct kernel gives the same bits under every schedule.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emu {

constexpr int WARP = 32, MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / WARP;
// What a block may have on sm_90, in bytes.
constexpr size_t MAX_SHARED = 227 * 1024;

// Which of the threads that could go on does.
enum class Order {
    Forward,   // first come, first served; blocks begin with thread 0
    Backward,  // the same, but all begin and are released from the last thread on
    WarpAhead, // one warp as far as it can get, then the one that waited least
};
// When an asynchronous copy or product happens.
enum class Landing {
    AtOnce, // when it is issued
    Late,   // when a wait can be put off no longer
};
struct Schedule {
    Order order;
    Landing landing;
    bool watched; // every access is held against allocations, and those to shared memory against each other
};

// A lane's operands, and a lane's place for results.
using Slots = uint64_t (*)[8];

// An asynchronous copy of 16 bytes, of which those past `valid` become 0.
struct Copy {
    void* to;
    const void* from;
    int size;
    int valid;
};

// A copy of a box of a tensor, under way.
struct BoxCopy {
    unsigned char* to;
    const uint64_t* map;
    uint32_t x, y, z;
    bool landed;
};

// A barrier in shared memory: arrivals and bytes that its phase still lacks, copies that will bring them, and those whose phase is over but for which nobody waited.
struct MBarrier {
    int count, missing;
    int64_t bytes = 0;
    uint64_t phase = 0;
    std::vector<BoxCopy> copies, landed;
};

// A warp's part of a warpgroup's product of 64 × n: this lane's sums, and where the operands lie.
struct Product {
    float* c;
    int n;
    uint64_t a;
    const uint32_t* fragment; // of a, this lane's registers; null: a lies where its descriptor says
    uint64_t b;
    bool across; // b's inner index runs across its rows
    bool add;
    float (*widen)(uint16_t);
};

struct Thread {
    void* stack_pointer;
    uint3 index;
    int rank, lane;
    bool done;
    const char* waits_at;
    // Copies in flight, oldest first, and how many of them each committed group holds.
    std::vector<Copy> copies;
    std::vector<int> copy_groups;
    // Products under way, and how many each committed group holds.
    std::vector<Product> products;
    std::vector<int> product_groups;
    int open_products;
    // Whether products may take registers: not after a wait, after which they are touched, before a fence.
    bool registers_fenced;
};

// A collective of some of a warp's lanes, in the making.
struct Collective {
    unsigned mask;
    int arrived;
    int round;
    const char* what;
    std::vector<int> waiting;
    uint64_t slots[2][WARP][8];
};

struct Warp {
    unsigned live;
    std::vector<Collective> collectives;
};

struct Barrier {
    int arrived;
    std::vector<int> waiting;
};

struct Block {
    uint3 index;
    dim3 size, grid;
    int threads, live;
    size_t shared;
    Schedule schedule;
    Thread thread[MAX_THREADS];
    Warp warp[MAX_WARPS];
    Barrier barrier[16];
    std::map<const void*, MBarrier> mbarriers;
    std::vector<int> ready;
    uint64_t progress, polls;
    void* main_stack_pointer;
    void (*entry)(const void* params);
    const void* params;
    std::string fault; // empty: none
};

extern thread_local Block* block;
extern thread_local Thread* self;

// Ends the block: what follows is what a person reads.
[[noreturn]] void fail(const std::string& what);
// bar.sync: waits until `count` threads are there; 0: all that have not returned.
void barrier_sync(int id, int count, const char* what);
// bar.arrive: counts as there, and goes on.
void barrier_arrive(int id, int count, const char* what);
// Lets others go on, in a loop that polls.
void poll(const char* what);
// Lanes of `mask` leave up to 64 bytes each; the last to arrive runs `combine` on all of them. Returns every lane's place. `orders`: what lanes wrote before
// is seen by all after.
Slots collect(unsigned mask, const char* what, const void* operand, size_t bytes, void (*combine)(Slots) = nullptr, bool orders = false);

struct Kernel {
    const char* name;
    void (*entry)(const void* params);
    size_t params_size;
    int max_threads;
    const Kernel* next;
    Kernel(const char* name, void (*entry)(const void*), size_t params_size, int max_threads);
};

} // namespace emu
