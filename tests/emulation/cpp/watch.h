// Holds every access that a kernel makes against what it may touch, and those to shared memory against each other: a sanitizer for memory, races and
// uninitialised reads. The compiler's own instrumentation (-fsanitize=thread) calls it; nothing else of that sanitizer is linked.
//
// Two accesses to a byte of shared memory of which one writes must be ordered by barriers, whichever order the schedule happened to give them. Ordered is what
// happened before: every thread has a clock of what it knows of every other's past (vector clocks; Mattern 1989), and barriers merge them.
// Shuffles order nothing, as on the device.
//
// Products of a warpgroup read by a view of their own, in which a thread's ordinary writes are there once it has fenced them.
//
// Not watched: races in device memory between blocks, and other fences.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace emu::watch {

void block_begins(const char* stacks, size_t stacks_size);
void block_ends();

// The running thread comes to a meeting place: what it did so far is brought along.
void arrive(const void* place);
// A meeting is over: those who waited for it know what all brought.
void meet(const void* place, const std::vector<int>& waiting);

// The running thread knows what was brought to this place so far, by those who arrived there.
void learn(const void* place);

// An access of which the compiler does not know, by the thread that runs.
void read(const void* p, size_t size);
void write(void* p, size_t size);
// A copy into shared memory that is under way from here on: nobody may touch it, until it landed.
void copy_begins(void* p, size_t size);
// `fenced`: by what products see without a fence.
void copy_landed(void* p, size_t size, bool fenced = false);
// What the running thread wrote so far, products see.
void fence();
void product_reads(const void* p, size_t size);

} // namespace emu::watch

// Device memory: what an allocation covers may be read and written.
extern "C" void emu_allocated(const void* p, size_t size);
extern "C" void emu_freed(const void* p);
