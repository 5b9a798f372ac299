// The instructions of kernels/ptx90.cuh for the processor: the same contracts.
#pragma once
#include "ptx.h"

namespace emu {
void mbarrier_init(const void* barrier, uint32_t count);
void mbarrier_arrive(const void* barrier, uint32_t bytes);
void mbarrier_wait(const void* barrier, uint32_t parity);
void copy_box(void* to, const uint64_t* map, uint32_t x, uint32_t y, uint32_t z, const void* barrier);
// A lane's part of a warpgroup's product [64, 16] · [16, n]: a where its descriptor says, or this lane's `fragment` of it; b with the inner index along rows, or across them.
void product(float* c, int n, uint64_t a, const uint32_t* fragment, uint64_t b, bool across, bool add, float (*widen)(uint16_t));
void products_see_writes();
void products_fence();
void products_commit();
void products_wait(int pending);
void converge(const char* what);
} // namespace emu

inline void mbarrier_init(uint64_t* barrier, uint32_t count) { emu::mbarrier_init(barrier, count); }
inline void mbarrier_init_fence() {}
inline void mbarrier_arrive(uint64_t* barrier) { emu::mbarrier_arrive(barrier, 0); }
inline void mbarrier_expect(uint64_t* barrier, uint32_t bytes) { emu::mbarrier_arrive(barrier, bytes); }
inline void mbarrier_wait(uint64_t* barrier, uint32_t parity) { emu::mbarrier_wait(barrier, parity); }
inline void copy_box(void* to, const TensorMap* map, uint32_t x, uint32_t y, uint32_t z, uint64_t* barrier) { emu::copy_box(to, map->words, x, y, z, barrier); }
inline void barrier_of(int which, int count) { emu::barrier_sync(which, count, "bar.sync"); }
inline void barrier_arrive_at(int which, int count) { emu::barrier_arrive(which, count, "bar.arrive"); }
template <int registers> void fewer_registers() { emu::converge("setmaxnreg"); }
template <int registers> void more_registers() { emu::converge("setmaxnreg"); }
inline void products_see_writes() { emu::products_see_writes(); }
inline void products_fence() { emu::products_fence(); }
inline void products_commit() { emu::products_commit(); }
template <int pending> void products_wait() { emu::products_wait(pending); }
inline void first_comes(float) {}
template <int pending = 0, int N> void products_done(float (&)[N]) { emu::products_wait(pending); }

namespace emu {
inline float (*widen(__nv_bfloat16))(uint16_t) { return from_bf16; }
inline float (*widen(__half))(uint16_t) { return from_f16; }
} // namespace emu
template <class T, int N> void product(float (&c)[N], uint64_t a, uint64_t b, bool add, T t) { emu::product(c, 2 * N, a, nullptr, b, false, add, emu::widen(t)); }
template <class T, int N> void mixture(float (&c)[N], const uint32_t (&a)[4], uint64_t b, T t) { emu::product(c, 2 * N, 0, a, b, true, true, emu::widen(t)); }
