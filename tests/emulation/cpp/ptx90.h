// The instructions of kernels/ptx90.cuh for the processor: the same contracts.
#pragma once
#include "ptx.h"

namespace emu {
void mbarrier_init(const void* barrier, uint32_t count);
void mbarrier_arrive(const void* barrier, uint32_t bytes);
void mbarrier_wait(const void* barrier, uint32_t parity);
void copy_box(void* to, const uint64_t* map, uint32_t x, uint32_t y, const void* barrier);
uint64_t operand_of(const void* tile, int column);
// A warp's part of a warpgroup's product.
void product(float* c, uint64_t a, uint64_t b, bool add, float (*widen)(uint16_t));
void products_commit();
void products_wait(int pending);
void converge(const char* what);
} // namespace emu

inline void mbarrier_init(uint64_t* barrier, uint32_t count) { emu::mbarrier_init(barrier, count); }
inline void mbarrier_init_fence() {}
inline void mbarrier_arrive(uint64_t* barrier) { emu::mbarrier_arrive(barrier, 0); }
inline void mbarrier_expect(uint64_t* barrier, uint32_t bytes) { emu::mbarrier_arrive(barrier, bytes); }
inline void mbarrier_wait(uint64_t* barrier, uint32_t parity) { emu::mbarrier_wait(barrier, parity); }
inline void copy_box(void* to, const TensorMap* map, uint32_t x, uint32_t y, uint64_t* barrier) { emu::copy_box(to, map->words, x, y, barrier); }
inline void barrier_of(int which, int count) { emu::barrier_sync(which, count, "bar.sync"); }
template <int registers> void fewer_registers() { emu::converge("setmaxnreg"); }
template <int registers> void more_registers() { emu::converge("setmaxnreg"); }
inline uint64_t operand_of(const void* tile, int column) { return emu::operand_of(tile, column); }
// The emulator knows one view of shared memory.
inline void products_see_writes() {}
inline void products_fence() { emu::converge("wgmma.fence"); }
inline void products_commit() { emu::products_commit(); }
template <int pending> void products_wait() { emu::products_wait(pending); }
inline void products_done(float (&)[WARPGROUP_NUMBERS]) { emu::products_wait(0); }
inline void product_64_256_16(float (&c)[WARPGROUP_NUMBERS], uint64_t a, uint64_t b, bool add, __nv_bfloat16) { emu::product(c, a, b, add, emu::from_bf16); }
inline void product_64_256_16(float (&c)[WARPGROUP_NUMBERS], uint64_t a, uint64_t b, bool add, __half) { emu::product(c, a, b, add, emu::from_f16); }
